"""The collector's settings: what is wrong is said with file, key, rule, value and way out."""

from pathlib import Path

import pytest

from collector import config
from shared.configfile import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def loaded(tmp_path: Path, text: str) -> config.Settings:
    path = tmp_path / "collector.yaml"
    path.write_text(text)
    return config.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brocker: {}", "'brocker' is not a known key; did you mean 'broker'?"),
        ("web: {prot: 1}", "'web.prot' is not a known key; did you mean 'port'?"),
        ("web: {port: '8080'}", "'web.port': expected a whole number"),
        ("web: {port: 70000}", "'web.port': expected a whole number <= 65535, got 70000"),
        ("broker: {url: 'http://x'}", "'broker': 'url' must start with mqtt:// or mqtts:// (TLS), got 'http://x'"),
        ("store: {kind: duckdb}", "'store.kind' must be one of sqlite, got 'duckdb'"),
        (
            "web: {host: 0.0.0.0}",
            (
                "'web.host' must be an address of this machine alone, such as 127.0.0.1, because nobody has to sign "
                "in, got '0.0.0.0'; set 'web.public: true' to let everybody who reaches it see everything"
            ),
        ),
        ("web: {host: collector.example}", "'web.host' must be an address of this machine alone"),
        ("shared_group: 'a/b'", "'shared_group' must be 1 to 64 letters, digits, '_' and '-', got 'a/b'"),
        ("shared_group: a\nembedded_broker: {}", "'shared_group' needs a broker with shared subscriptions"),
        ("time_zones: {Greenhouse: UTC}", "'time_zones': a site's name must be 2 to 32 characters"),
        (
            "time_zones: {greenhouse: Mars/Base}",
            "'time_zones.greenhouse' must be a time zone such as Europe/Paris, got 'Mars/Base'",
        ),
        ("time_zones: {greenhouse: ../../etc/passwd}", "must be a time zone such as Europe/Paris"),
        ("web: [", "not valid YAML"),
        ("- 1", "expected"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'collector.yaml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_this_machines_own_addresses_need_no_leave(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, f"web: {{host: '{host}'}}").web.host == host


def test_a_public_address_is_taken_when_it_is_meant(tmp_path: Path) -> None:
    assert loaded(tmp_path, "web: {host: 0.0.0.0, public: true}").web.host == "0.0.0.0"  # noqa: S104  # the case


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "store: {path: x.db}\nstate_dir: /var/lib/vigie\nbroker: {password_file: secret}")
    assert settings.store.path == str(tmp_path / "x.db")
    assert settings.state_dir == "/var/lib/vigie"
    assert settings.broker.password_file == str(tmp_path / "secret")


def test_the_embedded_broker_is_the_one_that_is_used(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "broker: {url: 'mqtt://elsewhere'}\nembedded_broker: {host: 0.0.0.0, port: 1884}")
    assert settings.effective_broker.url == "mqtt://127.0.0.1:1884"


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    assert settings.web == config.Settings().web
    assert settings.embedded_broker is None


def test_the_shipped_file_is_the_defaults() -> None:
    assert (ROOT / "configs" / "collector.yaml").read_text() == config.defaults()
