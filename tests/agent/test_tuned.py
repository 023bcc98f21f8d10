"""A tuning fills what the configuration leaves open, while model and machine are those it was made on."""

import json
import os
from pathlib import Path

import greymodel
import onnxruntime as ort
import pytest

from agent import build, config, tuned
from agent.config import Settings, StreamSettings
from agent.model import sha256_of
from agent.tuned import Choice, Entry, Machine, Unusable

TWO = Choice(threads=2, spinning=True, optimisation="basic")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a configuration, with a model beside it."""
    greymodel.save(tmp_path / "grey.onnx")
    return tmp_path / "agent.yaml"


def entry(choice: Choice = TWO, **changes: object) -> Entry:
    said: dict[str, object] = {
        "model": "grey.onnx",
        "at": "2026-11-01T10:00:00Z",
        "machine": tuned.machine(),
        "onnxruntime": ort.__version__,
        "providers": tuple(ort.get_available_providers()),
        "source": "a test",
        "choice": choice,
        **changes,
    }
    return Entry(**said)  # type: ignore[arg-type]  # a test's own


def keep(path: Path, kept: Entry) -> None:
    tuned.keep(path.parent / "tuned.json", sha256_of(path.parent / "grey.onnx"), kept)


STREAM = StreamSettings(name="cam0", source={"synthetic": "test", "count": 1}, model="grey.onnx")


def settle(path: Path, **keys: object) -> tuned.Settled:
    return tuned.settled(Settings(streams=[STREAM], **keys), STREAM, path)  # type: ignore[arg-type]  # a test's own keys


def keys(settled: tuned.Settled) -> tuple[object, ...]:
    said = settled.settings
    return said.providers, said.threads, said.spinning, said.optimisation


DEFAULT = (["cpu"], 1, False, "all")


def test_without_a_tuning_the_defaults_hold(path: Path) -> None:
    assert keys(settle(path)) == DEFAULT
    assert (settle(path).tuned, settle(path).stale) == ("", "")


def test_a_tuning_fills_open_keys(path: Path) -> None:
    keep(path, entry())
    settled = settle(path)
    assert keys(settled) == (["cpu"], 2, True, "basic")
    assert settled.tuned == "cpu, 2 thread(s), spinning, optimisation basic, as tuned 2026-11-01T10:00:00Z"
    assert settled.stale == ""
    assert keys(settle(path, threads=2)) == (["cpu"], 2, True, "basic"), "what the configuration says agrees"


def test_a_tuning_that_the_configuration_contradicts_is_not_used(path: Path) -> None:
    keep(path, entry())
    settled = settle(path, threads=4)
    assert keys(settled) == (["cpu"], 4, False, "all")
    assert settled.stale.startswith("tuned with 2, the configuration's 'threads' says 4; the tuning is not used: ")


def test_where_the_configuration_says_everything_no_tuning_is_looked_for(path: Path) -> None:
    (path.parent / "tuned.json").write_text("no JSON")
    settled = settle(path, providers=["cpu"], threads=3, spinning=True, optimisation="none")
    assert (keys(settled), settled.stale) == ((["cpu"], 3, True, "none"), "")


def test_another_number_of_cores_is_another_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(path, entry())
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores + 2)))
    settled = settle(path)
    assert keys(settled) == DEFAULT
    processor = tuned.machine().processor
    assert settled.stale.startswith(
        f"tuned on {cores} core(s) of {processor}, this is {cores + 2} of {processor}; the tuning is not used: "
    )


def test_another_runtime_is_told_and_the_tuning_used(path: Path) -> None:
    keep(path, entry(onnxruntime="1.0.0", providers=()))
    settled = settle(path)
    assert keys(settled) == (["cpu"], 2, True, "basic")
    assert settled.stale.startswith(f"tuned with onnxruntime 1.0.0, this is {ort.__version__}; since then there is ")
    assert "; the tuning is used all the same: vigie-agent tune MODEL --config " in settled.stale


def test_a_provider_that_is_gone_is_told(path: Path) -> None:
    keep(path, entry(Choice("RknpuExecutionProvider")))
    settled = settle(path)
    assert keys(settled) == DEFAULT
    assert "tuned with RknpuExecutionProvider, which this onnxruntime lacks; " in settled.stale


def test_another_file_of_the_same_name_is_told(path: Path) -> None:
    tuned.keep(path.parent / "tuned.json", "0" * 64, entry())
    assert settle(path).stale == (
        "grey.onnx is another file than the one that was tuned; the tuning is not used: tune again"
    )
    tuned.keep(path.parent / "tuned.json", "0" * 64, entry(model="other.onnx"))
    assert settle(path).stale == ""


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"models": {"a": {}}}', '{"version": 7}', "\xff"])
def test_a_broken_file_is_told_and_stops_nothing(path: Path, text: str) -> None:
    (path.parent / "tuned.json").write_bytes(text.encode("latin-1"))
    settled = settle(path)
    assert keys(settled) == DEFAULT
    assert str(path.parent / "tuned.json") in settled.stale
    assert "tune again" in settled.stale
    with pytest.raises(Unusable):
        tuned.read(path.parent / "tuned.json")
    keep(path, entry())
    assert keys(settle(path)) == (["cpu"], 2, True, "basic"), "a damaged file is replaced"


def test_a_tuning_leaves_those_of_other_models_and_no_other_file(path: Path) -> None:
    keep(path, entry())
    tuned.keep(path.parent / "tuned.json", "0" * 64, entry(model="other.onnx"))
    assert len(tuned.read(path.parent / "tuned.json").models) == 2
    assert sorted(one.name for one in path.parent.iterdir()) == ["grey.onnx", "tuned.json"]
    assert json.loads((path.parent / "tuned.json").read_text())["version"] == 1


def test_a_stream_is_run_as_tuned_its_records_say_so_and_staleness_is_told(path: Path) -> None:
    settings = Settings(streams=[STREAM])
    (untuned,) = build.streams(settings, path)
    keep(path, entry(onnxruntime="1.0.0"))
    (stream,) = build.streams(settings, path)
    assert (stream.model.threads, untuned.model.threads) == (2, 1)
    assert stream.maker.config != untuned.maker.config
    assert stream.maker.config == config.stream_hash(settle(path).settings, STREAM)
    assert stream.stale == settle(path).stale != ""


def test_the_processor_is_named_as_the_kernel_names_it(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 108.00\n\nModel\t\t: Raspberry Pi 5 Model B\n")
    assert tuned.machine(tmp_path) == Machine("Raspberry Pi 5 Model B", len(os.sched_getaffinity(0)))
