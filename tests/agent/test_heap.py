"""One heap for all threads, as the C library itself reports it."""

import re
import subprocess
import sys

import pytest

_COUNT = """
import ctypes, threading
from agent import heap
if {shared}:
    heap.share()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
met = threading.Barrier(5)
def work():
    met.wait()
    libc.malloc(1000)
    met.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
met.wait()
met.wait()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.parametrize(("shared", "fewest", "most"), [(False, 2, 64), (True, 1, 1)])
def test_threads_share_the_first_heap(shared: bool, fewest: int, most: int) -> None:  # noqa: FBT001  # as parametrize gives it
    done = subprocess.run(
        [sys.executable, "-c", _COUNT.format(shared=shared)], capture_output=True, text=True, timeout=60, check=True
    )
    heaps = len(re.findall(r"^Arena \d+:", done.stderr, re.MULTILINE))
    assert fewest <= heaps <= most, done.stderr
