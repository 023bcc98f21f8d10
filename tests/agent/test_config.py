"""What the configuration's types cannot say, and what leaves the device of it."""

from pathlib import Path

import pytest

from agent import config
from agent.config import PreparationSettings, Settings, StreamSettings
from shared.mqtt import BrokerSettings


def a_stream(**changes: object) -> StreamSettings:
    settings = {"name": "cam0", "source": {"stream": "rtsp://me:secret@cam.example/1?token=abc"}, "model": "m.onnx"}
    return StreamSettings(**{**settings, **changes})  # type: ignore[arg-type]  # a test's own settings


def test_what_leaves_the_device_has_no_credentials() -> None:
    told = str(config.redacted(Settings(streams=[a_stream()])))
    assert "secret" not in told
    assert "abc" not in told
    assert "cam.example/1" in told


def test_an_at_sign_elsewhere_is_no_credential() -> None:
    """Each text is looked at by itself: what looks like a password in one must not reach into the next."""
    settings = Settings(
        streams=[a_stream(model="yolo@v2.onnx")],
        broker=BrokerSettings(url="mqtt://127.0.0.1:1883", username="pi@lab"),
        state_dir="/var/lib/vigie@roof",
    )
    told = config.redacted(settings)
    assert told["state_dir"] == "/var/lib/vigie@roof"
    assert told["broker"]["username"] == "pi@lab"  # type: ignore[index]  # plain data
    assert told["streams"][0]["model"] == "yolo@v2.onnx"  # type: ignore[index]  # plain data


def test_a_streams_hash_names_what_its_records_depend_on() -> None:
    stream = a_stream()
    base = config.stream_hash(Settings(), stream)
    assert len(base) == 12
    assert config.stream_hash(Settings(), a_stream(score=0.3)) != base
    assert config.stream_hash(Settings(threads=2), stream) != base
    assert config.stream_hash(Settings(), a_stream(scores={"person": 0.6})) != base
    assert config.stream_hash(Settings(), a_stream(size=(320, 320))) != base
    assert config.stream_hash(Settings(), a_stream(preparation=PreparationSettings(fit="stretch"))) != base
    assert config.stream_hash(Settings(site="elsewhere"), stream) == base
    other_password = a_stream(source={"stream": "rtsp://me:other@cam.example/1?token=xyz"})
    assert config.stream_hash(Settings(), other_password) == base, "a new password is no new configuration"


def test_the_brokers_files_are_found_beside_the_configuration() -> None:
    settings = Settings(broker=BrokerSettings(url="mqtts://b.example", password_file="pw", ca_file="/etc/ca.pem"))  # noqa: S106  # a file's name
    located = config.located(settings, Path("/home/pi/agent.yaml")).broker
    assert (located.password_file, located.ca_file, located.key_file) == ("/home/pi/pw", "/etc/ca.pem", None)


@pytest.mark.parametrize("name", ["score", "iou", "most", "fps", "deadline_s", "snapshot_s"])
def test_every_key_of_a_stream_has_its_meaning_in_the_defaults(name: str) -> None:
    assert f"#    {name}: " in config.defaults()
