"""Failpoints kill the process that passes them, and only then."""

import os
import signal
import subprocess
import sys

import pytest

from shared import failpoints

_PROGRAM = """
from shared import failpoints
for name in ("one", "two", "two", "two"):
    print(name, flush=True)
    failpoints.reached(name)
"""


def _passed(variable: str) -> tuple[int, list[str]]:
    """Exit code and what was passed."""
    variables = {**os.environ, failpoints.VARIABLE: variable}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.split()


def test_the_chosen_thread_hangs() -> None:
    variables = {**os.environ, failpoints.VARIABLE: "two:hang:2"}
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], env=variables, stdout=subprocess.PIPE, text=True) as hangs:
        assert hangs.stdout is not None
        assert [hangs.stdout.readline().strip() for _ in range(3)] == ["one", "two", "two"]
        with pytest.raises(subprocess.TimeoutExpired):
            hangs.wait(0.5)
        hangs.kill()
        assert hangs.stdout.read() == ""


@pytest.mark.parametrize(
    ("variable", "code", "passed"),
    [
        ("", 0, 4),
        ("three:kill", 0, 4),
        ("one:kill", -signal.SIGKILL, 1),
        ("two:kill", -signal.SIGKILL, 2),
        ("two:kill:3", -signal.SIGKILL, 4),
        ("two:kill:4", 0, 4),
    ],
)
def test_the_chosen_passage_kills(variable: str, code: int, passed: int) -> None:
    assert _passed(variable) == (code, ["one", "two", "two", "two"][:passed])
