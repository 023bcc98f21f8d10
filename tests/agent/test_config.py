"""What the configuration's types cannot say, and what leaves the device of it."""

from pathlib import Path

import msgspec
import pytest

from agent import config
from agent.capture_child import MESSAGE_BYTES
from agent.config import PreparationSettings, Settings, StreamSettings
from shared.configfile import ConfigError
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


def load(tmp_path: Path, keys: str) -> Settings:
    path = tmp_path / "agent.yaml"
    path.write_text(f"streams: [{{name: cam0, source: {{synthetic: x}}, model: m.onnx, {keys}}}]")
    return config.load(path)


def test_the_filters_of_a_stream_are_read(tmp_path: Path) -> None:
    keys = "size: [320, 256], preparation: {fit: stretch, scale: 1}, scores: {person: 0.6, 3: 0.4}, "
    keys += "region: [0, 0.5, 1, 1], masks: [[[0, 0], [0.5, 0], [0, 0.5]]]"
    (stream,) = load(tmp_path, keys).streams
    assert list(stream.size or ()) == [320, 256]
    assert config.preparation(stream.preparation) == {"fit": "stretch", "scale": 1}
    assert stream.scores == {"person": 0.6, "3": 0.4}
    assert list(stream.region or ()) == [0, 0.5, 1, 1]
    assert stream.masks == [[(0, 0), (0.5, 0), (0, 0.5)]]


WRONG = {
    "size: [320]": "size': expected a list of length 2, got [320]",
    "size: [320, 0]": "size[1]': expected a whole number >= 1, got 0",
    "preparation: {fit: squash}": "preparation.fit': must be one of letterbox_center, letterbox_corner, stretch, "
    "crop_center, got 'squash'",
    "preparation: {pad: 256}": "preparation.pad': expected a whole number <= 255, got 256",
    "preparation: {width: 3}": "preparation.width' is not a known key. Known in 'streams[0].preparation': fit, pad, "
    "colour, mean, scale, resize_to, smooth",
    "scores: {person: 2}": "scores.person': expected a number <= 1.0, got 2",
    "region: [0, 0, 2, 1]": "region[2]': expected a number <= 1.0, got 2",
    "region: [0.5, 0, 0.5, 1]": "region' must be left, top, right, bottom with left < right and top < bottom, got "
    "[0.5, 0.0, 0.5, 1.0]",
    "gate: {change: 2}": "gate.change': expected a number <= 1.0, got 2",
    "gate: {every_s: 0}": "gate.every_s': expected a number > 0.0, got 0",
    "masks: [[[0, 0], [1, 1]]]": "masks[0]' must have 3 corners or more, got [[0.0, 0.0], [1.0, 1.0]]",
    "masks: [[[0, 0], [1, 1], [2, 0]]]": "masks[0][2][0]': expected a number <= 1.0, got 2",
}


@pytest.mark.parametrize("keys", WRONG)
def test_a_filter_that_cannot_be_is_answered_with_key_rule_and_value(keys: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, keys)
    assert str(caught.value) == f"{tmp_path}/agent.yaml: 'streams[0].{WRONG[keys]}"


def test_masks_fit_into_the_message_that_tells_of_them(tmp_path: Path) -> None:
    corners = ", ".join(f"[{n / 2000}, 0.123456789]" for n in range(config.MASK_POINTS_MAX + 1))
    with pytest.raises(ConfigError, match=r"'streams\[0\]\.masks' must have 1000 corners at most, got 1001"):
        load(tmp_path, f"masks: [[{corners}]]")
    (stream,) = load(tmp_path, f"masks: [[{corners.rpartition(', [')[0]}]]").streams
    assert len(msgspec.msgpack.encode(stream.masks)) < MESSAGE_BYTES / 2


PLANS = [
    (
        "fps: 5, every: 10 min",
        "'streams[0]': 'fps' and 'every' say the same in two ways, got 5 and '10 min'; leave one",
    ),
    (
        "every: soon",
        "'streams[0].every' must be seconds, or a number with ms, s, min, h or d such as '10 min', got 'soon'",
    ),
    ("every: 0", "'streams[0].every' must be 0.001 s to 1 d, got 0"),
    ("every: [1]", "'streams[0].every': expected a number or text or nothing, got [1]"),
    ("between: 6-8", "'streams[0].between': expected a list, got '6-8'"),
    (
        "between: ['06:00-20:00', 6 to 8]",
        "'streams[0].between[1]' must be two times of the day such as '06:00-20:30', or of the sun such as 'sunrise",
    ),
    (
        "between: [sunrise-sunset]",
        "'streams[0].between[0]' needs 'location' of the agent, with latitude and longitude, got 'sunrise-sunset'",
    ),
]


def load_plan(tmp_path: Path, plan: str, extra: str = "") -> Settings:
    path = tmp_path / "agent.yaml"
    path.write_text(f"{extra}\nstreams:\n  - {{name: cam0, source: {{synthetic: any}}, model: m.onnx, {plan}}}\n")
    return config.load(path)


@pytest.mark.parametrize(("plan", "message"), PLANS)
def test_a_plan_that_cannot_be_followed_says_why(tmp_path: Path, plan: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_plan(tmp_path, plan)
    assert str(raised.value).startswith(f"{tmp_path / 'agent.yaml'}: {message}")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("time_zone: Moon", "'time_zone' must name a time zone such as Europe/Berlin, got 'Moon'"),
        ("location: {latitude: 91, longitude: 0}", "'location.latitude': expected a number <= 90"),
        ("location: {latitude: 50}", "'location.longitude' is missing"),
    ],
)
def test_a_place_that_is_none_is_named(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_plan(tmp_path, "fps: 1", extra)
    assert message in str(raised.value)


def test_a_plan_is_told_in_words(tmp_path: Path) -> None:
    place = "location: {latitude: 52.5, longitude: 13.4}\ntime_zone: Europe/Berlin"
    settings = load_plan(tmp_path, "every: 10 min, between: [sunrise-30min-sunset]", place)
    (stream,) = settings.streams
    assert config.period_s(stream) == 600
    assert config.timetable_of(settings, stream) is not None
    assert config.plan_words(settings, stream) == "every 10 min, sunrise-30min-sunset (Europe/Berlin)"
    (plain,) = load_plan(tmp_path, "fps: 4").streams
    assert (config.period_s(plain), config.timetable_of(settings, plain)) == (0.25, None)
    assert config.plan_words(settings, plain) == "4 frames/s"
