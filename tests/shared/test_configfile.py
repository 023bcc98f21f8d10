"""A mistake in a configuration file is answered with file, key, rule, value and the way out."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from shared import configfile
from shared.configfile import ConfigError


class Camera(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of some settings."""

    name: str
    fps: Annotated[float, Meta(gt=0)] | None = None
    loop: bool = False


class Settings(Struct, forbid_unknown_fields=True):
    """Some settings."""

    cameras: list[Camera] = []
    port: Annotated[int, Meta(ge=1, le=65535)] = 8080
    main: Camera = Camera("main")
    options: dict[str, object] = {}
    corner: tuple[Annotated[float, Meta(ge=0)], Annotated[float, Meta(ge=0)]] | None = None
    scores: dict[str, Annotated[float, Meta(le=1)]] = {}
    fit: Literal["all", "part"] | None = None


MISTAKES = {
    "cameras: [{name: a, fsp: 3}]": "x.yaml: 'cameras[0].fsp' is not a known key; did you mean 'fps'? "
    "Known in 'cameras[0]': name, fps, loop",
    "camera: []": "x.yaml: 'camera' is not a known key; did you mean 'cameras'? "
    "Known at the top level: cameras, port, main, options, corner, scores, fit",
    "zzz: 1": "x.yaml: 'zzz' is not a known key. "
    "Known at the top level: cameras, port, main, options, corner, scores, fit",
    "cameras: [{fps: 3}]": "x.yaml: 'cameras[0].name' is missing; it has no default",
    "port: eighty": "x.yaml: 'port': expected a whole number, got 'eighty'",
    "port: 70000": "x.yaml: 'port': expected a whole number <= 65535, got 70000",
    "main: {name: m, fps: -5}": "x.yaml: 'main.fps': expected a number > 0.0, got -5",
    "main: {name: m, loop: 1}": "x.yaml: 'main.loop': expected true or false, got 1",
    "main: here": "x.yaml: 'main': expected keys and values, got 'here'",
    "cameras: {name: a}": "x.yaml: 'cameras': expected a list, got {'name': 'a'}",
    "cameras: [3]": "x.yaml: 'cameras[0]': expected keys and values, got 3",
    "port: 1\nport: 2": "x.yaml: line 2: the key 'port' comes twice",
    "1.5: 2": "x.yaml: line 1: the key 1.5 must be text; put it in quotes",
    "on: 2": "x.yaml: line 1: the key True must be text; put it in quotes",
    "scores: {3: 0.1, '3': 0.2}": "x.yaml: line 1: the key '3' comes twice",
    "scores: {a: 0.1, 3: 2}": "x.yaml: 'scores.3': expected a number <= 1.0, got 2",
    "corner: [1, -2]": "x.yaml: 'corner[1]': expected a number >= 0.0, got -2",
    "corner: [1]": "x.yaml: 'corner': expected a list of length 2, got [1]",
    "fit: alll": "x.yaml: 'fit': must be one of all, part, got 'alll'",
    "port: [": "x.yaml: line 1: not valid YAML: expected the node content, but found '<stream end>'",
    "- port": "x.yaml: expected keys and values, got ['port']",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_has_its_exact_message(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configfile.parse(text, Settings, "x.yaml")
    assert str(caught.value) == MISTAKES[text]


def test_a_right_file_becomes_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("cameras: [{name: a, fps: 3}]\nport: 99\noptions: {x: [1]}\n")
    settings = configfile.load(path, Settings)
    assert settings.cameras == [Camera("a", 3.0)]
    assert settings.port == 99


def test_a_whole_number_as_key_is_its_text() -> None:
    assert configfile.parse("scores: {3: 0.1, 007: 0.2}", Settings, "x.yaml").scores == {"3": 0.1, "007": 0.2}


def test_an_empty_file_is_all_defaults() -> None:
    assert configfile.parse("", Settings, "x.yaml").port == 8080


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        configfile.load(tmp_path / "no.yaml", Settings)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x\.yaml: is no text file in UTF-8; name a YAML file"):
        configfile.load(tmp_path / "x.yaml", Settings)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        configfile.load(tmp_path, Settings)


def test_a_file_that_is_too_deep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: not valid YAML"):
        configfile.parse("[" * 5000, Settings, "x.yaml")


def test_a_tab_is_answered_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"line 2: not valid YAML: .*; indent with spaces"):
        configfile.parse("main:\n\tname: m", Settings, "x.yaml")


def test_the_schema_names_every_key() -> None:
    assert "cameras" in str(configfile.schema(Settings))
