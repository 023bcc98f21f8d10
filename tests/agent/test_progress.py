"""The file that says how many frames each stream captured."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import Clock
from agent.progress import Progress

NONCE = "0123456789abcdef"


def test_what_was_counted_is_read_back(tmp_path):
    progress = Progress.create(tmp_path / "progress", 3, NONCE, ["cam0", "gate"])
    counter = progress.counter("gate")
    assert [counter.next(), counter.next(), counter.value] == [1, 2, 2]
    assert progress.counter("gate").value == 2
    progress.close()
    assert counter.next() == 3
    assert Progress.read(tmp_path / "progress") == (3, NONCE, Clock().boot_id(), {"cam0": 0, "gate": 3})


def test_a_new_start_begins_at_nothing_in_a_new_file(tmp_path):
    old = Progress.create(tmp_path / "progress", 3, NONCE, ["cam0"])
    counter = old.counter("cam0")
    counter.next()
    Progress.create(tmp_path / "progress", 4, NONCE, ["cam0"], boot_id="another")
    counter.next()  # a process of the start before, which has not ended yet
    assert Progress.read(tmp_path / "progress") == (4, NONCE, "another", {"cam0": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["progress"]


def test_another_process_counts_in_the_same_file(tmp_path):
    progress = Progress.create(tmp_path / "progress", 1, NONCE, ["cam0"])
    code = f"from agent.progress import Counter; c = Counter({progress.fd}, 0); [c.next() for _ in range(1000)]"
    subprocess.run(
        [sys.executable, "-c", code], pass_fds=[progress.fd], check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert progress.counter("cam0").value == 1000


def test_there_is_no_file_at_first(tmp_path):
    assert Progress.read(tmp_path / "progress") is None


@given(data=st.data())
def test_a_torn_or_damaged_file_is_none_or_right(tmp_path_factory, data):
    """Whatever is cut off or overwritten in the head, no wrong start is read."""
    path = tmp_path_factory.mktemp("torn") / "progress"
    Progress.create(path, 3, NONCE, ["cam0", "cam1"]).close()
    whole = path.read_bytes()
    content = bytearray(whole[: data.draw(st.sampled_from([len(whole), *range(0, len(whole), 997)]))])
    if content:
        at = data.draw(st.integers(0, min(200, len(content) - 1)))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    read = Progress.read(path)
    assert read is None or (read.epoch, read.nonce, set(read.streams)) == (3, NONCE, {"cam0", "cam1"})


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[1]\n", b"7\n", b'{"streams": 5}\n', b"\xff\xfe\n"])
def test_something_else_is_none(tmp_path, content):
    (tmp_path / "progress").write_bytes(content)
    assert Progress.read(tmp_path / "progress") is None


def test_as_many_streams_as_an_agent_may_have_fit(tmp_path):
    names = [f"{number:032d}" for number in range(256)]
    progress = Progress.create(tmp_path / "progress", 1, NONCE, names)
    progress.counter(names[-1]).next()
    read = Progress.read(tmp_path / "progress")
    assert read is not None
    assert read.streams[names[-1]] == 1
    assert sum(read.streams.values()) == 1


def test_too_many_streams_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1000 streams do not fit"):
        Progress.create(tmp_path / "progress", 1, NONCE, [f"{number:032d}" for number in range(1000)])


def test_a_stream_of_another_agent_is_refused():
    with pytest.raises(ValueError, match="not made for stream 'cam1'"):
        Progress.in_memory(["cam0"]).counter("cam1")
