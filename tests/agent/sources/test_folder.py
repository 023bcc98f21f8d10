"""A watched folder: real files, and the real capture."""

import contextlib
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent import check
from agent.capture import Backoff, Capture, Progress
from agent.clock import Clock
from agent.config import load
from agent.sources import Lost, NothingYet, Unreadable, resolve
from agent.sources.folder import Folder, State, _Memory

POLL_S = 0.05
NOWHERE = Path("/nowhere")


def options(folder, **given):
    given.setdefault("remember", str(folder.parent / "seen"))
    return Folder.Options(poll_s=POLL_S, **given)


def put(folder, name, level=100):
    """A grey picture, written as a program that knows what it does writes one: under another name first."""
    path = folder / name
    good, data = cv2.imencode(path.suffix, np.full((8, 12, 3), level, np.uint8))
    assert good
    hidden = folder / f".{name}.part"
    hidden.write_bytes(data.tobytes())
    hidden.rename(path)
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def levels(source, looks=4):
    """Grey levels of what an open folder has now; None for one that cannot be read. It is looked at so many times."""
    found: list[int | None] = []
    idle = 0
    while idle < looks:
        with contextlib.suppress(NothingYet):
            found.append(level(source))
            continue
        idle += 1
    return found


def level(source):
    """Grey level of the next picture; None when it cannot be read."""
    try:
        return int(source.read()[0, 0, 0])
    except Unreadable:
        return None


def one(source):
    """Grey level of the next picture, or None for now."""
    with contextlib.suppress(NothingYet):
        return level(source)
    return None


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


def test_pictures_come_once_the_oldest_first(folder):
    for name, age_s in (("b.png", 30), ("a.png", 10), ("img10.png", 20), ("img9.png", 20)):
        os.utime(put(folder, name, age_s), (1_700_000_000 - age_s,) * 2)
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == [30, 20, 20, 10]
        put(folder, "c.png", 60)
        assert levels(source) == [60]
        assert levels(source) == []


def test_a_folder_waits_without_blocking(folder):
    with Folder(str(folder), Folder.Options(poll_s=60, remember=str(folder.parent / "seen"))) as source:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(NothingYet):
                source.read()
            assert time.monotonic() - began < 5


def test_a_file_in_the_making_is_left_alone(folder):
    whole = put(folder, "whole.bmp").read_bytes()
    (folder / "whole.bmp").unlink()
    with Folder(str(folder), options(folder)) as source, (folder / "slow.bmp").open("wb") as file:
        assert levels(source) == []  # empty
        for at in range(0, len(whole), 40):
            file.write(whole[at : at + 40])
            file.flush()
            source._gather()
            assert not source._ready
        file.close()
        assert levels(source) == [100]


def test_other_files_are_left_alone(folder):
    for name in ("notes.txt", ".hidden.png", "x.png.part"):
        (folder / name).write_bytes(b"x")
    (folder / "folder.png").mkdir()
    (folder / "broken.png").symlink_to("nothing")
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == []


def test_a_broken_file_is_unreadable_once(folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 that was all")
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == [None]
        assert levels(source) == []


def test_a_file_that_is_overwritten_is_a_new_picture(folder):
    put(folder, "latest.png", 10)
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == [10]
        put(folder, "latest.png", 200)
        assert levels(source) == [200]


def test_a_restart_repeats_and_misses_nothing(folder):
    put(folder, "a.png", 1)
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == [1]
    put(folder, "b.png", 2)
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == [2]
    with Folder(str(folder), options(folder)) as source:
        assert levels(source) == []


def test_what_was_there_before_can_be_left_out(folder):
    put(folder, "old.png", 1)
    with Folder(str(folder), options(folder, existing=False)) as source:
        assert levels(source) == []
    put(folder, "meanwhile.png", 2)
    with Folder(str(folder), options(folder, existing=False)) as source:
        assert levels(source) == [2]


def test_read_pictures_can_be_deleted(folder):
    put(folder, "a.png", 1)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with Folder(str(folder), Folder.Options(then="delete", poll_s=POLL_S)) as source:
        assert set(levels(source)) == {1, None}
    assert list(folder.iterdir()) == []


def test_read_pictures_can_be_moved_and_replace_none(folder):
    done = folder / "done"
    done.mkdir()
    put(done, "a.png", 77)
    put(folder, "a.png", 1)
    with Folder(str(folder), Folder.Options(then="move", move_to=str(done), poll_s=POLL_S)) as source:
        assert levels(source) == [1]
    assert sorted(path.name for path in folder.iterdir()) == ["done"]
    assert sorted(path.name for path in done.iterdir()) == ["a-2.png", "a.png"]


def test_a_picture_that_is_overwritten_while_it_is_looked_at_is_not_deleted(folder):
    put(folder, "a.png", 1)
    with Folder(str(folder), Folder.Options(then="delete", poll_s=POLL_S)) as source:
        until(lambda: one(source) == 1)
        put(folder, "a.png", 2)
        assert levels(source) == [2]


def test_a_folder_that_is_gone_is_lost(folder):
    with Folder(str(folder), options(folder)) as source:
        folder.rename(folder.parent / "elsewhere")
        with pytest.raises(Lost, match=r"incoming: No such file"):
            levels(source)
    with pytest.raises(Lost, match=r"incoming: No such file"):
        source.__enter__()


def test_another_file_system_in_its_place_is_lost(folder):
    with Folder(str(folder), options(folder)) as source:
        source._device += 1
        with pytest.raises(Lost, match="is on another file system than before: was it mounted or unmounted"):
            levels(source)


def test_thousands_of_files_are_read_in_order(folder):
    whole = put(folder, "p0.bmp", 5).read_bytes()
    for number in range(1, 3000):
        (folder / f"p{number}.bmp").write_bytes(whole)
    for number in range(3000):
        os.utime(folder / f"p{number}.bmp", (1_700_000_000, 1_700_000_000))
    with Folder(str(folder), options(folder)) as source:
        names: list[str] = []
        while len(names) < 3000:
            with contextlib.suppress(NothingYet):
                source.grab()
                assert source._current is not None
                names.append(source._current[0])
    assert names == [f"p{number}.bmp" for number in range(3000)]


def test_the_memory_holds_any_name_and_survives_half_a_line(tmp_path):
    path = tmp_path / "seen"
    names = ["a\nb.png", os.fsdecode(b"\xff\xfe.png"), "ü.png", '"quoted".png']
    memory = _Memory(path)
    memory.add((name, State(number, 7)) for number, name in enumerate(names))
    memory.close()
    with path.open("a") as file:
        file.write('["half a li')
    for _ in range(2):
        again = _Memory(path)
        again.add([("after.png", State(5, 5))])
        again.close()
    assert again.has("after.png", State(5, 5))
    assert all(again.has(name, State(number, 7)) for number, name in enumerate(names))
    assert not again.has("ü.png", State(9, 9))


def test_the_memory_does_not_grow_for_ever_and_survives_a_folder_that_looks_empty(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.sources.folder._FORGET_FROM", 50)
    memory = _Memory(tmp_path / "seen")
    memory.add((f"{number}.png", State(number, 1)) for number in range(40))
    memory.forget([])
    assert memory.has("3.png", State(3, 1))
    memory.add((f"{number}.png", State(number, 1)) for number in range(40, 90))
    memory.forget([f"{number}.png" for number in range(80, 90)])
    memory.add([("new.png", State(1, 1))])
    memory.close()
    again = _Memory(tmp_path / "seen")
    again.close()
    assert again.has("85.png", State(85, 1))
    assert again.has("new.png", State(1, 1))
    assert not again.has("3.png", State(3, 1))
    assert len((tmp_path / "seen").read_text().split()) == 11 * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "'folder' needs 'remember', a file that holds which pictures were read"),
        ({"then": "delete", "existing": False}, "'folder' needs 'remember'"),
        ({"then": "move"}, "'then: move' and 'move_to' go together"),
        ({"move_to": "done", "remember": "seen"}, "'then: move' and 'move_to' go together"),
        ({"then": "move", "move_to": "in"}, "'move_to' must be another folder than the one that is watched"),
        ({"then": "burn"}, "Invalid enum value 'burn'"),
    ],
)
def test_wrong_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        resolve({"folder": "in", **given}, NOWHERE)


@pytest.mark.timeout(60)
def test_a_folder_without_pictures_is_no_fault_and_one_that_vanishes_comes_back(folder):
    """With deadlines that are far shorter than the silence."""
    settings = {"folder": str(folder), "then": "delete", "poll_s": POLL_S}
    events: list[str] = []
    capture = Capture(
        *("cam0", resolve(settings, NOWHERE), None, Progress.in_memory(["cam0"]), Clock()),
        deadline_s=1.5,
        open_deadline_s=20,
        backoff=Backoff(0.01, 0.05),
        on_event=lambda name, _detail: events.append(name),
    )
    away = folder.parent / "away"
    seen: list[int] = []

    def mishandle():
        time.sleep(4)  # the silence: longer than the deadline
        put(folder, "a.png", 1)

    thread = threading.Thread(target=mishandle)
    with capture:
        thread.start()
        for frame in capture.frames():
            seen.append(int(frame.pixels[0, 0, 0]))
            if len(seen) == 1:
                assert events == []
                until(lambda: not (folder / "a.png").exists())
                folder.rename(away)
                put(away, "b.png", 2)
                threading.Timer(0.5, away.rename, [folder]).start()
            else:
                break
    thread.join()
    assert seen == [1, 2]
    assert events == ["camera_lost", "camera_back"]


def test_check_counts_and_takes_nothing(folder, tmp_path):
    put(folder, "a.png")
    (tmp_path / "agent.yaml").write_text(
        "site: here\ndevice: pi\nstreams:\n- {name: cam0, model: m.onnx, source: {folder: incoming, then: delete}}\n"
    )
    settings = load(tmp_path / "agent.yaml")
    found = check.camera(settings.streams[0], tmp_path / "agent.yaml")
    assert (found.ok, found.detail) == (True, f"{folder} is there, with 1 picture; check reads none")
    assert [path.name for path in folder.iterdir()] == ["a.png"]
