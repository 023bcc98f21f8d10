"""A source that does what it is told, for the tests of `agent.capture`: it runs in real capture processes."""

import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from agent.sources import Lost, Unreadable


class Scripted:
    """Does one step a `read`.

    The target is a folder. Each opening appends a line to `opened` there and follows the next of the scripts (the last
    one again and again); each frame appends a line to `given` the moment before it is returned.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """Steps of each opening: words as in `_step`; `frame*9` is nine frames; `forever` begins the script again."""

        scripts: list[str]
        live: bool = False
        secret: str = ""

    def __init__(self, target, options):
        self.live = options.live
        self._folder = Path(target)
        self._scripts = options.scripts
        self._size = (32, 48)
        self._leaked = []

    def __enter__(self):
        """Open, as the script's first word says."""
        opened = self._folder / "opened"
        with opened.open("a") as file:
            file.write(f"{os.getpid()}\n")
        turn = len(opened.read_text().splitlines()) - 1
        script = self._scripts[min(turn, len(self._scripts) - 1)]
        self._steps = [
            word for part in script.split() for word in [part.split("*")[0]] * int((part + "*1").split("*")[1])
        ]
        self._at = 0
        if self._steps[0].startswith("open-"):
            self._at = 1
            self._do(self._steps[0].removeprefix("open-"))
        return self

    def __exit__(self, *_):
        """Close; a camera that hangs in this is one of the steps."""
        if "hang-in-close" in self._steps:
            time.sleep(3600)
        if "raise-in-close" in self._steps:
            raise ZeroDivisionError("a bug in closing")

    def read(self):
        """Do the next step."""
        if self._steps[self._at :] == ["forever"]:
            self._at = 0
        step = self._steps[self._at] if self._at < len(self._steps) else "end"
        self._at += 1
        if step == "end":
            return None
        return self._do(step)

    def _do(self, step):
        if step in {"hang-in-close", "raise-in-close"}:
            return self.read()
        actions = {
            "block": lambda: time.sleep(3600),
            "lost": lambda: _raise(Lost("rtsp://admin:s3cret@camera/1 is gone")),
            "unreadable": lambda: _raise(Unreadable("half a picture")),
            "raise": lambda: _raise(ZeroDivisionError("a bug in rtsp://admin:s3cret@camera/1")),
            "raise-odd": lambda: _raise(OSError("no file \udcff.jpg")),
            "exit": lambda: os._exit(3),
            "complain": lambda: (sys.stderr.write("library: http://u:s3cret@h refused\n"), os._exit(3)),
            "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
            "wide": lambda: self._resize((32, 96)),
            "large": lambda: self._resize((480, 640)),
            "leak": lambda: _after(0.02, lambda: self._leaked.append(bytearray(os.urandom(1_000_000)))),
            "flood": lambda: sys.stderr.write("WARNING:too much of it\nand more http://u:s3cret@h\n" * 20_000),
            "small": lambda: self._resize((32, 48)),
            "slow": lambda: time.sleep(0.02),
            "still": lambda: _after(0.02, lambda: self._frame(77)),
            "black": lambda: _after(0.02, lambda: self._frame(0)),
            "floats": lambda: np.zeros((4, 4, 3)),
            "grey": lambda: np.zeros((4, 4), np.uint8),
            "rgba": lambda: np.zeros((4, 4, 4), np.uint8),
            "empty": lambda: np.zeros((0, 4, 3), np.uint8),
            "endless": lambda: np.broadcast_to(np.uint8(0), (60_000, 60_000, 3)),
            "list": lambda: [1, 2, 3],
        }
        if step != "frame":
            result = actions[step]()
            if result is not None and step in {"still", "black", "floats", "grey", "rgba", "empty", "endless", "list"}:
                return result
        return self._frame()

    def _resize(self, size):
        self._size = size

    def _frame(self, level=None):
        with (self._folder / "given").open("a") as file:
            file.write("x\n")
        return np.full((*self._size, 3), self._at if level is None else level, np.uint8)


def _after(seconds, action):
    time.sleep(seconds)
    return action()


def _raise(error):
    raise error


class Buffered:
    """A live camera with four buffers, as V4L2 has them: full, they wait, and what is read is the oldest of them.

    A frame's first eight bytes say when it was made, in ms of the monotonic clock.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """The first frames after opening are dark, as of a camera that looks for its exposure."""

        fps: float = 20.0
        dark_s: float = 0.0

    live = True

    def __init__(self, target, options):
        self._folder = Path(target)
        self._options = options

    def __enter__(self):
        with (self._folder / "opened").open("a") as file:
            file.write(f"{time.monotonic()}\n")
        self._opened_s = time.monotonic()
        self._full: queue.Queue[float] = queue.Queue(4)
        threading.Thread(target=self._make, daemon=True).start()
        return self

    def __exit__(self, *_):
        with (self._folder / "closed").open("a") as file:
            file.write(f"{time.monotonic()}\n")

    def _make(self):
        while True:
            time.sleep(1 / self._options.fps)
            self._full.put(time.monotonic())

    def read(self):
        made_s = self._full.get()
        bright = made_s - self._opened_s >= self._options.dark_s
        pixels = np.full((32, 48, 3), 200 if bright else 5, np.uint8)
        pixels[0, :8, 0] = np.frombuffer(np.int64(made_s * 1000).tobytes(), np.uint8)
        return pixels
