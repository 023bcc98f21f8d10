"""A camera that fails in the way it is told to, for tests on a whole agent.

Its target is a folder. `do` in it is an order, which is taken away by the opening or frame that obeys it: so each
order is obeyed once, whichever capture process comes first. Every opening appends its process id to `opened`.
"""

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, cast

import msgspec
import numpy as np

from agent.sources import Lost, Pixels

OPENING = "open-"
FOR_EVER_S = 3600.0


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a test's configuration may say.

    Attributes:
        pace_s: Seconds between frames.
        lost_after: Every opening is lost after so many frames; 0 for never.
    """

    pace_s: float = 0.02
    lost_after: int = 0


class Faulty:
    """`target` is the folder."""

    Options: ClassVar[type[msgspec.Struct]] = Settings
    PATHS: ClassVar[tuple[str, ...]] = ("target",)
    live = True

    def __init__(self, target: str, options: Settings) -> None:
        self._folder = Path(target)
        self._options = options
        self._frame = 0
        self._given = 0
        self._lost_after = options.lost_after
        self._size = (48, 64)
        self._frozen = False
        self._garbage = 0
        self._close_badly = False
        self._leaked: list[bytearray] = []

    def __enter__(self) -> "Faulty":  # noqa: PYI034  # Self needs Python 3.11
        with (self._folder / "opened").open("a") as file:
            file.write(f"{os.getpid()}\n")
        order = self._order(opening=True)
        if order == "open-block":
            time.sleep(FOR_EVER_S)
        if order == "open-lost":
            raise Lost("no such camera")
        self._frame = os.getpid() % 100  # not the pictures of the opening before
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._close_badly:
            raise ZeroDivisionError("a bug in closing")

    def read(self) -> Pixels | None:
        time.sleep(self._options.pace_s)
        order = self._order(opening=False)
        if order:
            self._obey(order)
        if self._garbage:
            self._garbage -= 1
            return cast("Pixels", _GARBAGE[self._garbage % len(_GARBAGE)])
        if self._leaked:
            self._leaked.append(bytearray(os.urandom(4_000_000)))
        if self._lost_after and self._given == self._lost_after:
            raise Lost("the camera hung up")
        self._given += 1
        self._frame += not self._frozen
        return np.full((*self._size, 3), 30 + self._frame * 7 % 200, np.uint8)

    def _order(self, *, opening: bool) -> str:
        path = self._folder / "do"
        try:
            order = path.read_text()
            if order.startswith(OPENING) != opening:
                return ""
            path.unlink()
        except FileNotFoundError:
            return ""
        return order

    def _obey(self, order: str) -> None:
        word, _, count = order.partition(" ")
        if word in {"block", "lost", "flood"}:
            _act(word, count)
        elif word == "garbage":
            self._garbage = int(count)
        elif word == "freeze":
            self._frozen = True
        elif word == "steady":
            self._lost_after = 0
        elif word == "wide":
            self._size = (48, 96)
        elif word == "leak":
            self._leaked.append(bytearray(1))
        else:
            assert word == "close-badly", order
            self._close_badly = True


def _act(word: str, count: str) -> None:
    if word == "block":
        time.sleep(FOR_EVER_S)
    elif word == "lost":
        raise Lost("the camera hung up")
    for _ in range(int(count)):
        sys.stderr.write("WARNING:noise http://admin:s3cret@camera/\n" * 1000)


_GARBAGE: list[Any] = [
    [1, 2, 3],
    np.zeros((4, 4, 3)),
    np.zeros((4, 4), np.uint8),
    np.zeros((0, 4, 3), np.uint8),
    "a picture",
    np.broadcast_to(np.uint8(0), (60_000, 60_000, 3)),
]
