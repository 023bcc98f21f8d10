"""The audit believes nothing but what it reads again."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collector import cli
from collector.stores.sqlite import SQLite
from shared.records import Held, Previous, Tail, Vitals
from tests.collector.making import NONCE, SECOND, T0, detail, received, summary

TWICE = (
    "INSERT INTO observations SELECT stream, captured_at_ns + 1, epoch, frame, maker, width, height, capture, wait, "
    "prepare, infer, decode, classes, top, body, error FROM observations WHERE frame BETWEEN 6 AND 9"
)
Audit = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with 20 frames of a first start, 3 lost at its end, and 5 of a second one."""
    (tmp_path / "collector.yaml").write_text("store: {path: vigie.db, detail_days: 30000}\nstate_dir: state\n")
    end = Previous(0, 1, NONCE, {"summary": 1, "detail": 4}, clean=False, exact=True, streams={"cam0": Tail(20, 23)})
    with SQLite(tmp_path / "vigie.db", detail_days=30_000) as store:
        store.write([received(detail(batch, 5 * batch - 4)) for batch in (1, 2, 3, 4)])
        store.write([received(summary(1)), received(summary(1, end, epoch=2, nonce="f" * 16))])
        store.write([received(detail(1, 1, epoch=2, nonce="f" * 16, sealed_at_ns=T0 + 60 * SECOND))])
    return tmp_path


@pytest.fixture
def audit(folder: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    def run(*options: str, device: str = "greenhouse/pi-roof") -> tuple[int, str]:
        code = cli.main(["audit", device, "--config", str(folder / "collector.yaml"), *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def spoil(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "vigie.db")) as store:
        for statement in statements:
            assert store.execute(statement).rowcount > 0
        store.commit()


def test_what_is_whole_is_proven(audit: Audit) -> None:
    code, said = audit()
    assert code == 0, said
    assert "captured            28  25 ok, 3 unknown" in said
    assert "sealed              28  25 stored, 3 unsealed" in said
    assert "7 batches read, 25 observations compared\nPROVEN: every frame is accounted for\n" in said


def test_an_answer_for_programs_has_the_whole_account(audit: Audit) -> None:
    code, said = audit("--json")
    answer: dict[str, Any] = json.loads(said)
    assert (code, answer["proven"], answer["problems"]) == (0, True, [])
    assert answer["epochs"][0]["tail_lost"] == 3
    assert answer["epochs"][0]["batches"]["detail"]["digest"]["batches"] == 4


def test_a_digest_can_be_computed_from_what_is_printed(audit: Audit) -> None:
    lines = [line.split() for line in audit("--batches")[1].splitlines()]
    ours = "".join(
        f"{number} {sha256}\n" for lane, epoch, _, number, sha256, _ in lines if (lane, epoch) == ("detail", "1")
    )
    digest = json.loads(audit("--json")[1])["epochs"][0]["batches"]["detail"]["digest"]["sha256"]
    assert digest == hashlib.sha256(ours.encode()).hexdigest()


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        (
            "DELETE FROM observations WHERE frame = 7",
            "start 1, cam0: frame 7: no observation, although the ledger says that they are stored",
        ),
        (
            "UPDATE observations SET frame = 99 WHERE frame IN (8)",
            "start 1, cam0: frame 99: an observation, although no batch of the ledger has them",
        ),
        (
            TWICE,
            "start 1, cam0: frames 6 to 9: more than one observation",
        ),
        ("UPDATE totals SET ok = ok - 1 WHERE last = 20", "start 1, cam0: the entries cover 20 frames, the sums 19"),
        ("UPDATE totals SET stored = stored + 2 WHERE last = 20", "20 frames have an outcome, 22 have a fate"),
    ],
)
def test_what_does_not_hold_is_told_with_where(audit: Audit, folder: Path, statement: str, problem: str) -> None:
    spoil(folder, statement)
    code, said = audit()
    assert code == 1
    assert problem in said


def test_what_is_missing_is_no_proof_and_what_the_device_holds_is_one(audit: Audit, folder: Path) -> None:
    with SQLite(folder / "vigie.db") as store:
        store.write([received(detail(3, 11, epoch=2, nonce="f" * 16))])
    code, said = audit()
    assert code == 1
    assert "NOT PROVEN: 5 frames are missing\n" in said
    assert "NOT PROVEN: start 2: detail batches 2 did not arrive\n" in said
    with SQLite(folder / "vigie.db") as store:
        held = (Held(2, "f" * 16, "detail", 2, 2),)
        store.write([received(summary(2, Vitals(0, 1.0, held=held), epoch=2, nonce="f" * 16))])
    code, said = audit()
    assert code == 0, said
    assert "waiting              5  on the device" in said


def test_a_range_is_audited_alone(audit: Audit, folder: Path) -> None:
    spoil(folder, "DELETE FROM observations WHERE frame = 7")
    code, said = audit("--from", "2026-11-23T18:00:30Z")
    assert code == 0, said
    assert "captured             5  5 ok\n" in said
    assert audit("--to", "2026-11-23T18:00:30Z")[0] == 1


def test_who_asks_wrongly_is_told(audit: Audit, folder: Path) -> None:
    assert audit(device="greenhouse/pi-door") == (2, "vigie-collector: there is no device greenhouse/pi-door\n")
    for options in (["--from", "yesterday"], ["--config"]):
        with pytest.raises(SystemExit) as ended:
            audit(*options)
        assert ended.value.code == 2
    (folder / "vigie.db").unlink()
    code, said = audit()
    assert code == 2
    assert f"there is no store at {folder / 'vigie.db'}: see 'store.path'" in said
    assert not (folder / "vigie.db").exists()
