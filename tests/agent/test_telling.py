"""How the start before ended is told from what lies on disk."""

from agent.outbox import Ended
from agent.progress import Captured
from agent.telling import previous
from shared.records import Tail

NONCE = "0123456789abcdef"
ENDED = Ended(3, NONCE, {"summary": 4, "detail": 9}, clean=False, streams={"cam0": 90})


def test_frames_captured_but_not_sealed_are_the_tail() -> None:
    told = previous(ENDED, Captured(3, NONCE, "boot", {"cam0": 97, "cam1": 2}), "boot")
    assert (told.epoch, told.nonce, told.clean, told.exact) == (3, NONCE, False, True)
    assert told.sealed == {"summary": 4, "detail": 9}
    assert told.streams == {"cam0": Tail(90, 97), "cam1": Tail(0, 2)}


def test_after_a_power_cut_the_numbers_are_not_exact() -> None:
    told = previous(ENDED, Captured(3, NONCE, "another boot", {"cam0": 80}), "boot")
    assert not told.exact
    assert told.streams == {"cam0": Tail(90, 90)}, "never less than what was sealed"


def test_without_a_progress_file_only_what_was_sealed_is_known() -> None:
    told = previous(ENDED, None, "boot")
    assert not told.exact
    assert told.streams == {"cam0": Tail(90, 90)}


def test_the_progress_of_another_start_says_nothing() -> None:
    told = previous(ENDED, Captured(7, "f" * 16, "boot", {"cam0": 97}), "boot")
    assert not told.exact
    assert told.streams["cam0"].captured == 90


def test_frames_of_an_outbox_that_was_lost_are_told_by_the_progress_file() -> None:
    gone = Ended(0, "0" * 16, {"summary": 0, "detail": 0}, clean=True, streams={})
    told = previous(gone, Captured(2, NONCE, "boot", {"cam0": 556}), "boot")
    assert (told.epoch, told.nonce, told.clean, told.exact) == (2, NONCE, False, True)
    assert told.sealed == {"summary": 0, "detail": 0}
    assert told.streams == {"cam0": Tail(0, 556)}


def test_a_devices_first_start_has_nothing_before_it() -> None:
    first = previous(Ended(0, "0" * 16, {"summary": 0, "detail": 0}, clean=True, streams={}), None, "boot")
    assert (first.epoch, first.nonce, first.clean, first.exact, first.streams) == (0, "0" * 16, True, True, {})
