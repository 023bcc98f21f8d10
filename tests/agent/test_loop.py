"""A frame becomes a look, whatever the model does to it, and each stage's time is told."""

from pathlib import Path
from threading import Event

import greymodel
import numpy as np
import pytest

from agent import sources
from agent.books import Book
from agent.capture import Capture, Frame, Progress
from agent.clock import Clock
from agent.loop import observe, run
from agent.model import Looker, Model
from agent.seal import Journal
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
        run(capture, looker, book, journal, clock, lambda frame: glances.append(frame.number), Event())
    cut = book.cut(clock.boot_ns())
    assert cut is not None
    assert [(r.outcome, r.first, r.last) for r in cut.runs.outcomes] == [("ok", 1, 2), ("failed", 3, 5), ("ok", 6, 8)]
    assert glances == list(range(1, 9))
    told = journal.cut(clock.boot_ns())
    assert [(event.name, event.detail) for event in told] == [("inference_failed", "ValueError: boom")]  # type: ignore[union-attr]  # events only
