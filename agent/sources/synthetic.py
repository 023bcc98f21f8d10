"""A made-up moving picture, for trying things out and for tests.

Each frame carries its number in black and white blocks in its upper left corner; `read_number` finds it again, also
after JPEG.
"""

import time
from types import TracebackType
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from agent.sources import Pixels

_COLUMNS = 8
_NUMBER_ROWS = 4
_ROWS = _NUMBER_ROWS + 1
"""Rows of bits, and one of checks: their exclusive or, every second one turned over so that a plain corner fails."""

_JPEG_BLOCK = 8
_BLOCKS_IN_SIDE = 40
_SIDE_MIN = _COLUMNS * _JPEG_BLOCK
_GREY_MIDDLE = 128

Side = Annotated[int, Meta(ge=_SIDE_MIN, le=16_384)]


class Synthetic:
    """A moving picture that nobody filmed.

    Args:
        target: Any word: there is nothing to open.
        options: See `Options`.
    """

    class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What the configuration may say.

        Attributes:
            width: In pixels.
            height: In pixels.
            fps: Frames a second when live.
            count: The source ends after so many frames; None for never.
            seed: Of the scene: the same seed gives the same pictures.
            live: Frames come at `fps` whether or not somebody looks; otherwise as fast as they are asked for.
        """

        width: Side = 640
        height: Side = 480
        fps: Annotated[float, Meta(gt=0, le=1000)] = 10.0
        count: Annotated[int, Meta(ge=0)] | None = None
        seed: Annotated[int, Meta(ge=0)] = 0
        live: bool = False

    live: bool

    def __init__(self, target: str, options: Options) -> None:
        self._options = options
        self._name = target
        self.live = options.live
        self._given = 0
        self._due = 0.0

    def __enter__(self) -> "Synthetic":  # noqa: PYI034  # Self needs Python 3.11
        """Paint the background."""
        self._background = _background(self._options)
        self._due = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def resume(self, frames: int) -> None:
        """Go on after frame `frames`."""
        self._given = frames

    def read(self) -> Pixels | None:
        """The next picture; None after `count`."""
        if self._given == self._options.count:
            return None
        if self.live:
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._due = max(self._due, time.monotonic() - 1 / self._options.fps) + 1 / self._options.fps
        self._given += 1
        return paint(self._background, self._given)


def _background(options: Synthetic.Options) -> Pixels:
    """A smooth scene with some texture, by the seed."""
    random = np.random.default_rng(options.seed)
    down, across = np.mgrid[0 : options.height, 0 : options.width].astype(np.float32)
    tilt = random.uniform(-1, 1, (3, 2)).astype(np.float32)
    planes = [110 + 60 * (a * down / options.height + b * across / options.width) for a, b in tilt]
    noise = random.normal(0, 6, (options.height, options.width, 1)).astype(np.float32)
    return np.clip(np.stack(planes, axis=2) + noise, 0, 255).astype(np.uint8)


def paint(background: Pixels, number: int) -> Pixels:
    """A copy of `background` with a disc where it is at frame `number`, and the number."""
    pixels = background.copy()
    height, width = pixels.shape[:2]
    side = min(height, width) // 5
    top = _swing(7 * number, height - side)
    left = _swing(11 * number, width - side)
    pixels[top : top + side, left : left + side] = (40, 60, 210)
    _write_number(pixels, number)
    return pixels


def _swing(distance: int, room: int) -> int:
    """Where something is that went `distance` to and fro between 0 and `room`."""
    room = max(room, 1)
    turned = abs(distance % (2 * room) - room)
    return room - turned


def _write_number(pixels: Pixels, number: int) -> None:
    bits = np.unpackbits(np.array([number], ">u4").view(np.uint8)).reshape(_NUMBER_ROWS, _COLUMNS)
    rows = np.vstack([bits, _check_row(bits)])
    block = _block(pixels)
    coded = np.kron(rows * np.uint8(255), np.ones((block, block), np.uint8))
    pixels[: _ROWS * block, : _COLUMNS * block] = coded[:, :, None]


def read_number(pixels: Pixels) -> int | None:
    """The number of a synthetic frame, or None when this is none or the number cannot be read any more."""
    block = _block(pixels)
    coded = pixels[: _ROWS * block, : _COLUMNS * block].mean(axis=2)
    if coded.shape != (_ROWS * block, _COLUMNS * block):
        return None
    levels = coded.reshape(_ROWS, block, _COLUMNS, block).mean(axis=(1, 3))
    rows = (levels >= _GREY_MIDDLE).astype(np.uint8)
    if not np.array_equal(rows[_NUMBER_ROWS], _check_row(rows[:_NUMBER_ROWS])):
        return None
    return int.from_bytes(np.packbits(rows[:_NUMBER_ROWS]).tobytes(), "big")


def _check_row(bits: Pixels) -> Pixels:
    parity: Pixels = np.bitwise_xor.reduce(bits, axis=0)
    return parity ^ (np.arange(_COLUMNS, dtype=np.uint8) & np.uint8(1))


def _block(pixels: Pixels) -> int:
    """Side of one block in pixels: whole JPEG blocks."""
    side: int = min(pixels.shape[:2])
    return max(1, side // _BLOCKS_IN_SIDE // _JPEG_BLOCK) * _JPEG_BLOCK
