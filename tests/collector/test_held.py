"""`vigie-collector quarantine`, as a user types it."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import free_port

from collector import cli
from collector.queries import Queries
from collector.state.quarantine import Bad, Quarantine
from collector.stores.sqlite import SQLite
from shared import topics
from tests.collector.making import T0, decoded, detail, received

ROOF, DOOR = topics.batch("greenhouse", "pi-roof"), topics.batch("greenhouse", "pi-door")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    path = tmp_path / "collector.yaml"
    path.write_text(f"store: {{path: vigie.db, detail_days: 36500}}\nstate_dir: state\nweb: {{port: {free_port()}}}\n")

    def quarantine(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["quarantine", *arguments, "--config", str(path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return quarantine


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Garbage (1), a good batch (2) and another device's good batch (3), in quarantine."""
    one, two = detail(1, 1), detail(1, 1, device="pi-door")
    with Quarantine(tmp_path / "state" / "state.db") as made:
        made.put(
            [
                Bad(ROOF, b"garbage", "bad_batch", "no header", T0),
                Bad(ROOF, one, "too_many_series", "why not", T0, decoded(one).header),
                Bad(DOOR, two, "too_many_series", "why not", T0, decoded(two).header),
            ]
        )
    return made.path


def numbers(text: str) -> list[int]:
    return [json.loads(line)["id"] for line in text.splitlines()]


@pytest.mark.usefixtures("held")
def test_it_can_be_listed_by_device(run: Run) -> None:
    assert numbers(run("list", "--json")[1]) == [3, 2, 1]
    assert numbers(run("list", "--json", "--device", "greenhouse/pi-roof")[1]) == [2, 1]
    assert run("list", "--device", "greenhouse/pi")[:2] == (0, ""), "no device by the beginning of its name"
    with pytest.raises(SystemExit) as ended:
        run("list", "--device", "pi-roof")
    assert ended.value.code == 2


def test_more_than_a_page_is_listed(run: Run, tmp_path: Path) -> None:
    with Quarantine(tmp_path / "state" / "state.db") as made:
        made.put([Bad(ROOF, b"%d" % number, "bad_batch", "no header", T0) for number in range(2500)])
    assert numbers(run("list", "--json")[1]) == list(range(2500, 0, -1))


@pytest.mark.usefixtures("held")
def test_a_payload_is_exported_as_it_came(run: Run, tmp_path: Path) -> None:
    assert run("show", "2", "--payload", str(tmp_path / "out"))[0] == 0
    assert (tmp_path / "out").read_bytes() == detail(1, 1)
    nowhere = tmp_path / "none" / "out"
    code, _, error = run("show", "2", "--payload", str(nowhere))
    assert (code, error) == (1, f"vigie-collector: {nowhere} cannot be written: No such file or directory\n")
    assert run("show", "9")[2] == "vigie-collector: there is no 9 in quarantine\n"


@pytest.mark.usefixtures("held")
def test_what_is_stored_by_a_replay_is_taken_out(run: Run, tmp_path: Path) -> None:
    assert run("replay", "--device", "greenhouse/pi-door")[:2] == (0, "3: stored\n")
    code, said, _ = run("replay")
    assert (code, said.splitlines()[1]) == (1, "2: stored")
    assert numbers(run("list", "--json")[1]) == [1], "garbage stays"
    with SQLite(tmp_path / "vigie.db") as store:
        assert {facts.device for facts in store.devices()} == {"pi-roof", "pi-door"}


@pytest.mark.usefixtures("held")
def test_a_store_that_is_away_costs_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vigie.db").mkdir()
    code, _, error = run("replay")
    assert code == 1
    assert "Traceback" not in error
    assert str(tmp_path / "vigie.db") in error
    assert numbers(run("list", "--json")[1]) == [3, 2, 1], "all are still there, and can be looked at"


def test_a_state_that_is_away_is_one_line_and_code_1(run: Run, held: Path) -> None:
    held.unlink()
    held.mkdir()
    for command in (("list",), ("show", "1"), ("replay",), ("drop", "--all")):
        code, _, error = run(*command)
        assert code == 1
        assert error.startswith(f"vigie-collector: {held}: ")
        assert len(error.splitlines()) == 1


def test_it_works_while_another_process_writes(run: Run, held: Path) -> None:
    other = sqlite3.connect(held, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert numbers(run("list", "--json")[1]) == [3, 2, 1], "readers do not wait for writers"
    finally:
        other.close()
    assert run("replay", "3")[0] == 0


def test_dropping_takes_the_payload_and_leaves_the_account(run: Run, held: Path, tmp_path: Path) -> None:
    """Else its frames would be missing of a sudden, though it is known what became of them."""
    assert run("drop", "1", "2", "7")[:2] == (1, "1: dropped\n2: dropped\n")
    assert numbers(run("list", "--json")[1]) == [3, 2]
    assert run("replay", "2")[:2] == (1, "2: its payload was dropped\n")
    assert run("drop", "--all", "--device", "greenhouse/pi-door")[:2] == (0, "3: dropped\n")
    with SQLite(tmp_path / "vigie.db") as store, Quarantine(held) as made:
        store.write([received(detail(2, 6))])
        ledger = Queries(store, quarantine=made).ledger("greenhouse", "pi-roof")
    assert (ledger["missing"], ledger["fates"]["quarantined"], ledger["fates"]["stored"]) == (0, 5, 5)
    for mistake in (("drop",), ("drop", "1", "--all"), ("drop", "1", "--device", "greenhouse/pi-door")):
        assert run(*mistake)[0] == 2


def test_the_limit_takes_payloads_before_it_takes_the_account(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "state.db", mb_max=1) as made:
        for number in range(1, 6):
            payload = detail(number, 5 * number - 4)
            made.put([Bad(ROOF, payload + bytes(300_000), "bad_batch", "why", T0, decoded(payload).header)])
        assert made.dropped == 2
        assert [one.batch for one in made.of_device("greenhouse", "pi-roof")] == [1, 2, 3, 4, 5]
        whole = [made.get(number) for number in range(1, 6)]
        assert [bool(one and one.payload) for one in whole] == [False, False, True, True, True]
