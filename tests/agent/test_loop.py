"""A frame becomes a look, whatever the model does to it, and each stage's time is told."""

from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event, Thread

import greymodel
import numpy as np
import pytest
from brokers import until

from agent import sources
from agent.books import Book
from agent.capture import Capture, Frame, Progress
from agent.clock import Clock
from agent.decoders import Array
from agent.gate import Gate
from agent.loop import Work, observe, run
from agent.model import Looker, Model
from agent.seal import Journal
from agent.turns import Turns
from shared.records import Maker

MAKER = Maker("grey", "2.1", "a" * 64, "b" * 12, 0.25, 0.45)


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    return Model.load(greymodel.save(tmp_path / "grey.onnx")).looker()


def a_frame(number: int = 1) -> Frame:
    pixels = np.full((48, 64, 3), 100, np.uint8)
    return Frame(number, Clock().boot_ns() // 10_000 * 10_000 - 5_000_000, 321, pixels, lambda: None)


def test_a_look_tells_what_was_seen_and_what_it_cost(looker: Looker) -> None:
    look = observe(a_frame(7), looker, Clock())
    assert (look.frame, look.width, look.height, look.capture, look.error) == (7, 64, 48, 321, "")
    assert look.found is not None
    assert look.found.class_ids.tolist() == [0]
    assert look.wait >= 500, "it was captured 5 ms ago"
    assert look.infer > 0
    assert look.response == look.wait + look.prepare + look.infer + look.decode


def test_a_frame_that_the_model_fails_on_keeps_its_reason(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("the outputs are not finite")

    monkeypatch.setattr(looker, "decode", fail)
    look = observe(a_frame(), looker, Clock())
    assert look.error == "ValueError: the outputs are not finite"
    assert look.found is None
    assert look.infer > 0
    assert look.decode == 0


def test_every_frame_of_a_source_is_looked_at_and_a_failure_told_once(
    looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, decode, glances = Clock(), looker.decode, []
    looked = iter(range(1, 100))

    def sometimes(*args):
        if 3 <= next(looked) <= 5:
            raise ValueError("boom")
        return decode(*args)

    monkeypatch.setattr(looker, "decode", sometimes)
    source = sources.resolve({"synthetic": "test", "count": 8, "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    journal = Journal(clock)
    with Capture("cam0", source, None, Progress.in_memory(["cam0"]), clock, on_settled=book.settle) as capture:
        work = Work(capture, book, journal, clock, lambda frame: glances.append(frame.number), Turns())
        run(work, [looker], Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert [(r.outcome, r.first, r.last) for r in cut.runs.outcomes] == [("ok", 1, 2), ("failed", 3, 5), ("ok", 6, 8)]
    assert glances == list(range(1, 9))
    told = journal.cut(clock.boot_ns())
    assert [(event.name, event.detail) for event in told] == [("inference_failed", "ValueError: boom")]  # type: ignore[union-attr]  # events only


def test_a_still_scene_is_gated_until_the_model_fails(looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, decode, glances = Clock(), looker.decode, []
    looked = iter(range(1, 100))

    def sometimes(*args):
        if next(looked) <= 2:
            raise ValueError("boom")
        return decode(*args)

    monkeypatch.setattr(looker, "decode", sometimes)
    source = sources.resolve({"synthetic": "test", "count": 9, "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    with Capture("cam0", source, None, Progress.in_memory(["cam0"]), clock, on_settled=book.settle) as capture:
        gate = Gate(1.0, 3600)  # a change of everything, which never comes
        work = Work(capture, book, Journal(clock), clock, lambda frame: glances.append(frame.number), Turns(), gate)
        run(work, [looker], Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert [(r.outcome, r.first, r.last) for r in cut.runs.outcomes] == [
        ("failed", 1, 2),
        ("ok", 3, 3),
        ("gated", 4, 9),
    ]
    assert glances == list(range(1, 10)), "the snapshots have those, too"


def test_several_hands_look_at_every_frame_once_and_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(greymodel.save(tmp_path / "grey.onnx"))
    lookers = [model.looker() for _ in range(3)]
    together = Barrier(3)
    for looker in lookers:
        monkeypatch.setattr(looker, "infer", _after(together, looker.infer))  # nobody passes alone
    clock = Clock()
    source = sources.resolve({"synthetic": "test", "count": 60, "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    glances: list[int] = []
    with Capture("cam0", source, None, Progress.in_memory(["cam0"]), clock, hands=3, on_settled=book.settle) as capture:
        work = Work(capture, book, Journal(clock), clock, lambda frame: glances.append(frame.number), Turns(3))
        run(work, lookers, Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert [(r.outcome, r.first, r.last) for r in cut.runs.outcomes] == [("ok", 1, 60)]
    assert sorted(glances) == list(range(1, 61))
    assert [seen.frame for seen in cut.blocks[0].observations] == list(range(1, 61)), "in order, however they were done"


def test_several_hands_share_a_gate(tmp_path: Path) -> None:
    model = Model.load(greymodel.save(tmp_path / "grey.onnx"))
    clock = Clock()
    source = sources.resolve({"synthetic": "test", "count": 60, "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    glances: list[int] = []
    with Capture("cam0", source, None, Progress.in_memory(["cam0"]), clock, hands=3, on_settled=book.settle) as capture:
        gate = Gate(1.0, 3600)  # a change of everything, which never comes
        work = Work(capture, book, Journal(clock), clock, lambda frame: glances.append(frame.number), Turns(3), gate)
        run(work, [model.looker() for _ in range(3)], Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert [(r.outcome, r.first, r.last) for r in cut.runs.outcomes] == [("ok", 1, 1), ("gated", 2, 60)]
    assert sorted(glances) == list(range(1, 61))


def _after(together: Barrier, infer: Callable[[Array], list[Array]]) -> Callable[[Array], list[Array]]:
    def inferring(tensor: Array) -> list[Array]:
        together.wait(30)
        return infer(tensor)

    return inferring


def test_a_fault_of_one_hand_ends_all_and_is_raised(tmp_path: Path) -> None:
    model = Model.load(greymodel.save(tmp_path / "grey.onnx"))
    clock = Clock()

    def glance(frame: Frame) -> None:
        if frame.number == 20:
            raise OSError("a bug")

    source = sources.resolve({"synthetic": "test", "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    progress = Progress.in_memory(["cam0"])
    with Capture("cam0", source, None, progress, clock, hands=2, on_settled=book.settle) as capture:
        work = Work(capture, book, Journal(clock), clock, glance, Turns(2))
        with pytest.raises(OSError, match="a bug"):
            run(work, [model.looker(), model.looker()], Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert (cut.runs.first, cut.runs.last) == (1, progress.counter("cam0").value), "every frame has its outcome"


def test_a_live_camera_that_waits_for_its_turn_gets_its_newest_frame_looked_at(tmp_path: Path) -> None:
    model = Model.load(greymodel.save(tmp_path / "grey.onnx"))
    clock, turns = Clock(), Turns(1)
    options = {"width": 64, "height": 64, "fps": 100, "live": True}
    source = sources.resolve({"synthetic": "test", **options}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    progress = Progress.in_memory(["cam0"])
    looked: list[int] = []
    with Capture("cam0", source, None, progress, clock, on_settled=book.settle) as capture:

        def glance(frame: Frame) -> None:
            looked.append(frame.number)
            capture.stop()

        work = Work(capture, book, Journal(clock), clock, glance, turns)
        with turns.taken_by("another stream"):
            thread = Thread(target=run, args=(work, [model.looker()], Event()))
            thread.start()
            until(lambda: progress.counter("cam0").value >= 30)
        thread.join(30)
    assert looked
    assert looked[0] >= 29, "not the frame that came first, but the one that came last"


def test_a_book_without_room_lets_frames_wait_and_a_stop_through(looker: Looker) -> None:
    clock, stop = Clock(), Event()
    source = sources.resolve({"synthetic": "test", "width": 64, "height": 64}, Path())
    book = Book("cam0", MAKER, "detect", 60, clock.boot_ns())
    book.wait_for_room = lambda timeout_s: bool(stop.wait(timeout_s) and 0)  # type: ignore[method-assign]  # full
    progress = Progress.in_memory(["cam0"])
    with Capture("cam0", source, None, progress, clock, on_settled=book.settle) as capture:
        thread = Thread(target=run, args=(Work(capture, book, Journal(clock), clock, print, Turns()), [looker], stop))
        thread.start()
        until(lambda: progress.counter("cam0").value >= 1)
        stop.set()
        thread.join(30)
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert {run.outcome for run in cut.runs.outcomes} == {"skipped"}
    assert (cut.runs.first, cut.runs.last) == (1, progress.counter("cam0").value)
