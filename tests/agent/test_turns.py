"""Streams that share a model take turns, and none gets less than its share."""

import threading
from collections import Counter

import pytest
from brokers import until

from agent.turns import CPU, Turns, at_once


def test_no_more_than_so_many_have_a_turn_at_the_same_time() -> None:
    turns, lock, together = Turns(2), threading.Lock(), threading.Barrier(2)
    now, most = 0, 0

    def work() -> None:
        nonlocal now, most
        with turns.taken_by("cam0"):
            with lock:
                now += 1
                most = max(most, now)
            together.wait(30)  # nobody passes alone
            with lock:
                now -= 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (now, most) == (0, 2)


def test_a_stream_that_asks_with_many_hands_gets_no_more_turns_than_the_others() -> None:
    turns = Turns(1)
    order: list[str] = []
    asking = ["eager", "eager", "eager", "patient", "eager", "shy"]
    threads = []
    with turns.taken_by("eager"):
        for count, who in enumerate(asking, 1):
            threads.append(threading.Thread(target=_note, args=(turns, who, order)))
            threads[-1].start()
            until(lambda count=count: len(turns._waiting) == count)  # type: ignore[misc]  # the only way to see them wait
    for thread in threads:
        thread.join(30)
    assert order == ["patient", "shy", "eager", "eager", "eager", "eager"]
    assert Counter(order) == Counter(asking)


def _note(turns: Turns, who: str, order: list[str]) -> None:
    with turns.taken_by(who):
        order.append(who)


def test_a_turn_is_given_back_whatever_happens_in_it() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns.taken_by("cam0"):
        raise ZeroDivisionError
    done: list[str] = []
    thread = threading.Thread(target=_note, args=(turns, "cam1", done))
    thread.start()
    thread.join(30)
    assert done == ["cam1"]


@pytest.mark.parametrize(
    ("provider", "threads", "wanted", "cores", "expected"),
    [
        (CPU, 1, 0, 1, 1),
        (CPU, 1, 0, 2, 2),
        (CPU, 2, 0, 4, 2),
        (CPU, 0, 0, 4, 1),
        (CPU, 8, 0, 4, 1),
        (CPU, 1, 0, 64, 4),
        (CPU, 1, 1, 4, 1),
        ("CUDAExecutionProvider", 0, 0, 8, 2),
        ("CUDAExecutionProvider", 0, 1, 8, 1),
    ],
)
def test_so_many_at_once_as_the_cores_carry(
    provider: str, threads: int, wanted: int, cores: int, expected: int
) -> None:
    assert at_once(provider, threads, wanted, cores) == expected
