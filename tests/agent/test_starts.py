"""Starts in a row that end too soon lead to safe mode; a proved one, and a stop that was asked for, do not."""

from pathlib import Path

import pytest

from agent.starts import PAUSE_S, PAUSE_S_MAX, Safe, Starts


def begun(path: Path, most: int = 3) -> tuple[Starts, Safe | None]:
    starts = Starts(path / "starts", most)
    return starts, starts.begin()


def crash(path: Path, times: int) -> None:
    for _ in range(times):
        starts, safe = begun(path)
        assert safe is None
        starts.doing("loading the model of cam0")


def test_so_many_crashes_and_then_safe_mode_which_says_what_was_done(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    for _ in range(2):  # killed in safe mode: still safe mode
        _, safe = begun(tmp_path)
        assert safe is not None
        assert safe.reason.endswith("killed, without a word while loading the model of cam0")
        assert safe.pause_s == PAUSE_S


def test_each_trial_that_fails_makes_the_pause_longer_up_to_an_hour(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    pauses = []
    for _ in range(9):
        starts, safe = begun(tmp_path)
        assert safe is not None
        pauses.append(safe.pause_s)
        starts.pause_over()
        assert begun(tmp_path)[1] is None
    assert pauses == [min(PAUSE_S_MAX, PAUSE_S * 2**n) for n in range(9)]
    starts, _ = begun(tmp_path)
    starts.pause_over()
    starts, safe = begun(tmp_path)
    assert safe is None
    starts.proved()
    crash(tmp_path, 3)
    _, safe = begun(tmp_path)
    assert safe is not None
    assert safe.pause_s == PAUSE_S


def test_a_stop_that_was_asked_for_does_not_count(tmp_path: Path) -> None:
    for _ in range(10):
        starts, safe = begun(tmp_path)
        assert safe is None
        starts.stopped()


def test_after_a_stop_in_safe_mode_the_next_start_is_as_usual(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    starts, safe = begun(tmp_path)
    assert safe is not None
    starts.stopped()
    assert begun(tmp_path)[1] is None


def test_a_reason_that_nobody_was_told_is_told_once_by_the_next_start(tmp_path: Path) -> None:
    starts, _ = begun(tmp_path)
    starts.failed("sealing hangs", told=False)
    assert begun(tmp_path)[0].untold == "sealing hangs"
    assert begun(tmp_path)[0].untold == ""


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"00000000{}", b'{"failures":99}', b"0" * 100_000])
def test_a_torn_file_does_no_harm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "starts").write_bytes(content)
    assert begun(tmp_path)[1] is None


def test_none_is_none_and_what_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    for _ in range(9):
        assert begun(tmp_path, most=0)[1] is None
    assert begun(tmp_path / "no such folder")[1] is None
