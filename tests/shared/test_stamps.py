"""A part hangs when it beat and then was silent for too long; one that rests does not."""

import threading

from shared.stamps import Board


def test_silence_after_a_beat_is_judged_and_rest_is_not() -> None:
    now = 0.0
    board = Board(lambda: now)
    stamp, never = board.stamp("part", 5.0), board.stamp("patient", 0)
    now = 100.0
    assert board.hung() == [], "what has not begun does not hang"
    stamp.beat()
    never.beat()
    now = 105.0
    assert board.hung() == []
    now = 105.5
    assert [str(one) for one in board.hung()] == ["part: no progress for 6 s; 5 s are allowed"]
    board.forgive()
    assert board.hung() == [], "all of it stood still"
    now = 200.0
    stamp.rest()
    assert board.hung() == []
    stamp.beat()
    now = 300.0
    board.give_up(stamp)
    assert board.hung() == []


def test_a_thread_that_ended_without_a_word_hangs_and_one_that_was_done_does_not() -> None:
    board = Board(lambda: 0.0)
    gone, done = board.stamp("gone", 5.0), board.stamp("done", 5.0)

    def work() -> None:
        for stamp in (gone, done):
            stamp.beat()
        gone.rest()
        done.done()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [str(one) for one in board.hung()] == ["gone: its thread ended"]


def test_the_stack_shows_where_a_part_is() -> None:
    stamp = Board(lambda: 0.0).stamp("part", 5.0)
    assert stamp.stack() == ""
    stamp.beat()
    assert "test_the_stack_shows_where_a_part_is" in stamp.stack()
