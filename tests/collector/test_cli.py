"""The commands, as a user types them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker, free_port, until

from collector import cli, config
from collector.broker import EmbeddedBroker
from collector.state.quarantine import Bad, Quarantine
from collector.stores.sqlite import SQLite
from shared import __version__
from tests.collector.field import device
from tests.collector.making import T0, decoded, detail
from tests.collector.process import Process

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "collector.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"embedded_broker: {{port: {free_port()}}}\nstore: {{path: vigie.db}}\nstate_dir: state\n"
        f"web: {{port: {free_port()}}}\n"
    )
    return path


@pytest.fixture
def process(tmp_path: Path, mosquitto: Broker) -> Iterator[Process]:
    mosquitto.start()
    made = Process(tmp_path, f"broker: {{url: '{mosquitto.url}', retry_s_max: 0.5}}")
    yield made
    made.kill()


def test_a_wrong_configuration_is_one_line_and_code_2(tmp_path: Path) -> None:
    path = tmp_path / "collector.yaml"
    path.write_text("web: {port: eighty}")
    done = run("run", "--config", str(path))
    assert done.returncode == 2
    assert done.stderr == f"vigie-collector: {path}: 'web.port': expected a whole number, got 'eighty'\n"
    missing = run("run", "--config", str(tmp_path / "none.yaml"))
    assert missing.stderr == f"vigie-collector: {tmp_path / 'none.yaml'}: there is no such file\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"vigie-collector {__version__}\n"


def test_config_prints_the_defaults_and_their_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config"]) == 0
    assert capsys.readouterr().out == config.defaults()
    assert cli.main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "embedded_broker" in schema["$defs"]["Settings"]["properties"]


def test_check_finds_everything_in_order(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--config", str(settings), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in answer["checks"]]
    assert names == ["config", "store", "state", "embedded broker", "web port", "disk", "clock"]
    assert answer["ok"]


def test_check_says_what_is_wrong_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    port = free_port()
    path = tmp_path / "collector.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path.write_text(
            f"broker: {{url: 'mqtt://127.0.0.1:{port}'}}\nstore: {{path: file/vigie.db}}\n"
            f"web: {{port: {taken.getsockname()[1]}}}\n"
        )
        assert cli.main(["check", "--config", str(path), "--json"]) == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert not found["store"]["ok"]
    assert "is the broker running there?" in found["broker"]["detail"]
    assert "is in use: stop the other program or set web.port" in found["web port"]["detail"]
    assert found["state"]["ok"]


def _checked(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    cli.main(["check", "--config", str(path), "--json"])
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}


def _below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_check_creates_nothing_and_says_what_run_will_create(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _below(settings.parent)
    found = _checked(settings, capsys)
    assert found["store"]["detail"] == f"vigie.db does not exist yet, will be created in {settings.parent}"
    assert found["state"]["detail"] == (
        f"folder {settings.parent / 'state'} does not exist yet, will be created for state.db"
    )
    settings.write_text(settings.read_text().replace("path: vigie.db", "path: nope/deeper/vigie.db"))
    found = _checked(settings, capsys)
    assert found["store"] == {
        "name": "store",
        "ok": True,
        "detail": f"folder {settings.parent / 'nope' / 'deeper'} does not exist yet, will be created for vigie.db",
    }
    assert found["disk"]["ok"]
    assert _below(settings.parent) == before


def test_check_says_where_nothing_can_be_created(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.parent / "file").write_text("")
    settings.write_text(settings.read_text().replace("path: vigie.db", "path: file/deeper/vigie.db"))
    found = _checked(settings, capsys)
    assert found["store"]["ok"] is False
    assert found["store"]["detail"] == (
        f"{settings.parent / 'file/deeper/vigie.db'} cannot be created, {settings.parent / 'file'} is not a folder: "
        "change store.path"
    )
    closed = settings.parent / "closed"
    closed.mkdir(mode=0o500)
    settings.write_text(settings.read_text().replace("path: file/deeper", "path: closed"))
    if not os.access(closed, os.W_OK):  # root may write anywhere
        assert "cannot be written" in str(_checked(settings, capsys)["store"]["detail"])


def test_check_writes_what_is_there_already(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SQLite(settings.parent / "vigie.db"), Quarantine(settings.parent / "state" / "state.db"):
        pass
    found = _checked(settings, capsys)
    assert str(found["store"]["detail"]).endswith("vigie.db can be written")
    assert str(found["state"]["detail"]).endswith("state can be written")


def test_checks_table_has_no_log_lines(settings: Path) -> None:
    done = run("check", "--config", str(settings))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok     embedded broker   can listen on 127.0.0.1 port" in done.stdout


def test_check_sees_an_embedded_broker_that_runs_already(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedded = config.load(settings).embedded_broker
    assert embedded is not None
    with EmbeddedBroker(embedded.host, embedded.port):
        assert "one already answers on" in str(_checked(settings, capsys)["embedded broker"]["detail"])
    with socket.create_server(("127.0.0.1", embedded.port)):
        found = _checked(settings, capsys)["embedded broker"]
    assert found["ok"] is False
    assert "is in use: stop the other broker" in str(found["detail"])


def test_check_reports_a_wrong_configuration_as_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "collector.yaml"
    path.write_text("web: {port: eighty}")
    assert cli.main(["check", "--config", str(path)]) == 1
    assert capsys.readouterr().out.startswith("WRONG  config")


def test_a_taken_web_port_is_said_and_code_1(settings: Path) -> None:
    port = config.load(settings).web.port
    with socket.create_server(("127.0.0.1", port)):
        done = run("run", "--config", str(settings))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use: stop the other program or set web.port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_broker_port_is_said_and_code_1(settings: Path) -> None:
    embedded = config.load(settings).embedded_broker
    assert embedded is not None
    with socket.create_server(("127.0.0.1", embedded.port)):
        done = run("run", "--config", str(settings))
    assert done.returncode == 1
    assert done.stderr == (
        f"vigie-collector: port {embedded.port} on 127.0.0.1 is in use: "
        "stop the other broker or set embedded_broker.port\n"
    )


def test_it_runs_with_its_own_broker_and_stops_quietly(tmp_path: Path) -> None:
    """Warnings are errors in that process too."""
    process = Process(tmp_path, f"embedded_broker: {{port: {free_port()}}}")
    process.start()
    try:
        assert process.get("/api/v1/devices") == (200, {"devices": []})
        assert process.stop() == 0
    finally:
        process.kill()
    assert "Warning" not in process.log()
    assert "Traceback" not in process.log()


def test_it_starts_without_a_broker_and_says_so(process: Process, mosquitto: Broker) -> None:
    mosquitto.kill()
    process.start(ready=False)
    until(lambda: process.get("/readyz")[0] == 503, 60)
    assert "broker" in process.get("/readyz")[1]["reasons"]
    mosquitto.start()
    until(process.ready)
    assert process.stop() == 0


@pytest.mark.parametrize("failpoint", ["before_write", "after_write"])
def test_killed_around_the_write_nothing_is_missing_and_nothing_twice(
    process: Process, mosquitto: Broker, failpoint: str
) -> None:
    """SIGKILL between the store's commit and the ack: the device sends again, and the store has it once."""
    batches = {batch: detail(batch, 5 * batch - 4) for batch in range(1, 21)}
    process.start(failpoint=f"{failpoint}:kill")
    with device(mosquitto) as one:
        for payload in batches.values():
            one.send_batch(payload)
        assert process.wait() == -9
        assert one.stored() == set()
        process.start()
        one.deliver(batches)
    answer = process.get("/api/v1/predictions?limit=1000")[1]
    assert sorted(prediction["frame"] for prediction in answer["predictions"]) == list(range(1, 101))
    ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
    assert (ledger["captured"], ledger["missing"], ledger["fates"]["stored"]) == (100, 0, 100)
    assert process.stop() == 0


def test_killed_at_any_moment_nothing_is_missing(process: Process, mosquitto: Broker) -> None:
    batches = {batch: detail(batch, 5 * batch - 4) for batch in range(1, 61)}
    with device(mosquitto) as one:
        for start in range(1, 61, 20):
            process.start()
            some = {batch: batches[batch] for batch in range(start, start + 20)}
            for payload in some.values():
                one.send_batch(payload)
            until(lambda start=start: one.stored() & set(range(start, start + 20)))  # type: ignore[misc]
            process.kill()
        process.start()
        one.deliver(batches)
    ledger = process.get("/api/v1/devices/greenhouse/pi-roof/ledger")[1]
    assert (ledger["captured"], ledger["missing"], ledger["fates"]["stored"]) == (300, 0, 300)


def test_the_quarantine_is_listed_shown_and_replayed(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topic = "vigie/v1/greenhouse/pi-roof/batch"
    good = detail(1, 1)
    with Quarantine(settings.parent / "state" / "state.db") as held:
        held.put(
            [Bad(topic, b"garbage", "bad_batch", "no header", T0), Bad(topic, good, "x", "y", T0, decoded(good).header)]
        )
    where = ["--config", str(settings)]
    assert cli.main(["quarantine", "list", *where]) == 0
    listed = capsys.readouterr().out
    assert "2026-11-23T18:00:00.000Z" in listed
    assert "no header" in listed
    assert cli.main(["quarantine", "list", "--json", *where]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [2, 1]
    assert cli.main(["quarantine", "show", "1", *where]) == 0
    assert json.loads(capsys.readouterr().out)["payload"] == "Z2FyYmFnZQ=="
    assert cli.main(["quarantine", "replay", *where]) == 1, "one of them stays"
    answer = capsys.readouterr().out
    assert "1: there is no header line" in answer
    assert "2: stored" in answer
    assert cli.main(["quarantine", "show", "2", *where]) == 1
    assert "there is no 2 in quarantine" in capsys.readouterr().err
    with SQLite(settings.parent / "vigie.db") as store:
        assert [books.streams["cam0"].last for books in store.ledger("greenhouse", "pi-roof")] == [5]


def test_no_variable_no_failpoint() -> None:
    assert "VIGIE_FAILPOINT" not in os.environ
