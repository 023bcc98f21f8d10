"""A picture into the input tensor, in one pass and without allocating anything per frame.

The tensor is filled with the padding's value once. Of each frame only the part that the picture covers is written:
resized into a buffer, split into channels, and each looked up in a table straight into the tensor. 1280x720 to 640x640
takes about a seventh of `cv2.dnn.blobFromImage`'s time (docs/performance.md).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.decoders import Array, Placement, Preparation

Pixels = NDArray[np.uint8]

ASPECT_MAX = 4
"""A picture is cut to this aspect before a centre crop: a strip would grow to gigabytes when resized."""

CHANNELS = {"bgr": (0, 1, 2), "rgb": (2, 1, 0), "gray": (0,)}
"""Where each channel of the tensor comes from in a BGR (or, last, grey) picture."""


class Preparer:
    """Turns pictures into one tensor, again and again; each stream has its own.

    Args:
        preparation: What the family wants.
    """

    def __init__(self, preparation: Preparation) -> None:
        self._want = preparation
        self._tensor = empty_tensor(preparation)
        # OpenCV knows no half floats, but looking up moves their bits.
        bits = np.uint16 if preparation.dtype == "float16" else np.dtype(preparation.dtype)
        self._written: NDArray[Any] = self._tensor.view(bits)[0]
        self._tables = [table.astype(preparation.dtype).view(bits) for table in tables(preparation)]
        self._same = all(np.array_equal(table, self._tables[0]) for table in self._tables)
        self._planar = preparation.layout == "nchw"
        self._shape: tuple[int, ...] = ()
        self._plan(preparation.height, preparation.width)

    def __call__(self, pixels: Pixels) -> tuple[Array, Placement]:
        """The tensor, which is overwritten by the next call, and where the picture lies in it.

        Args:
            pixels: [height, width, 3] BGR.

        Raises:
            ValueError: `pixels` is not such a picture.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:  # noqa: PLR2004
            raise ValueError(f"a picture is [height, width, 3] of uint8, not {list(pixels.shape)} of {pixels.dtype}")
        if pixels.shape != self._shape:
            self._plan(pixels.shape[0], pixels.shape[1])
        source = pixels[self._cut]
        height, width = self._resized.shape[:2]
        if source.shape == self._resized.shape:
            np.copyto(self._resized, source)
        else:
            cv2.resize(source, (width, height), dst=self._resized, interpolation=self._interpolation)
        self._write(self._resized[self._window])
        return self._tensor, self._placement

    def _plan(self, height: int, width: int) -> None:
        """Settle, for pictures of this size, what is resized to what and written where."""
        want = self._want
        self._shape = (height, width, 3)
        self._cut, kept_width, kept_height = _strip_cut(want, width, height)
        resized_width, resized_height = resized_size(want, kept_width, kept_height)
        left, top = offsets(want, resized_width, resized_height)
        self._resized = np.empty((resized_height, resized_width, 3), dtype=np.uint8)
        self._window = np.s_[max(0, -top) : max(0, -top) + want.height, max(0, -left) : max(0, -left) + want.width]
        shown_height, shown_width = self._resized[self._window].shape[:2]
        self._region = np.s_[max(0, top) : max(0, top) + shown_height, max(0, left) : max(0, left) + shown_width]
        self._planes = [np.empty((shown_height, shown_width), dtype=np.uint8) for _ in range(3)]
        self._turned = np.empty((shown_height, shown_width, 3), dtype=np.uint8)
        self._looked_up = np.empty((shown_height, shown_width), dtype=self._written.dtype)
        shrinks = resized_width < kept_width or resized_height < kept_height
        self._interpolation = cv2.INTER_AREA if want.smooth and shrinks else cv2.INTER_LINEAR
        scale_x, scale_y = scales(want, kept_width, kept_height)
        self._placement = Placement(
            width=width,
            height=height,
            scale_x=scale_x,
            scale_y=scale_y,
            left=left - (width - kept_width) // 2 * scale_x,
            top=top - (height - kept_height) // 2 * scale_y,
        )
        fill(self._tensor, want)

    def _write(self, picture: Pixels) -> None:
        """Write `picture`, [height, width, 3] BGR, into its region of the tensor."""
        want = self._want
        if want.colour == "gray":
            cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY, dst=self._planes[0])
        elif self._same and not self._planar:
            self._write_at_once(picture)
            return
        else:
            cv2.split(picture, self._planes)
        for channel, source in enumerate(CHANNELS[want.colour]):
            self._write_channel(channel, self._planes[source])

    def _write_at_once(self, picture: Pixels) -> None:
        """All channels together, where they lie together and have one table."""
        if self._want.colour == "rgb":
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=self._turned)
            picture = self._turned
        cv2.LUT(picture, self._tables[0], dst=self._written[self._region])

    def _write_channel(self, channel: int, plane: Pixels) -> None:
        """Write `plane`, looked up, into one channel of the tensor."""
        if self._planar:
            cv2.LUT(plane, self._tables[channel], dst=self._written[channel][self._region])
        else:
            cv2.LUT(plane, self._tables[channel], dst=self._looked_up)
            np.copyto(self._written[..., channel][self._region], self._looked_up)


def empty_tensor(want: Preparation) -> Array:
    """A tensor for one picture, its values undefined."""
    channels = len(CHANNELS[want.colour])
    planar = want.layout == "nchw"
    shape = (1, channels, want.height, want.width) if planar else (1, want.height, want.width, channels)
    return np.empty(shape, dtype=want.dtype)


def tables(want: Preparation) -> list[NDArray[np.float32]]:
    """For each channel of the tensor, [256]: the value of each grey, rounded once.

    Arithmetic in single precision would round three times, which int8 models turn into other guesses.
    """
    greys = np.arange(256, dtype=np.float64)
    channels = range(len(CHANNELS[want.colour]))
    return [((greys - want.mean[channel]) * want.scale[channel]).astype(np.float32) for channel in channels]


def fill(tensor: Array, want: Preparation) -> None:
    """Fill `tensor` with the padding, as a pixel of that grey comes out."""
    for channel, table in enumerate(tables(want)):
        plane = tensor[0, channel] if want.layout == "nchw" else tensor[0, ..., channel]
        plane[...] = table[want.pad]


def resized_size(want: Preparation, width: int, height: int) -> tuple[int, int]:
    """Width and height in tensor pixels of a picture of `width` by `height`, at least one pixel each."""
    if want.fit == "stretch":
        return want.width, want.height
    if want.fit == "crop_center":
        ratio = (want.resize_to or min(want.width, want.height)) / min(width, height)
        ratio = max(ratio, want.width / width, want.height / height)  # the crop must be covered
    else:
        ratio = min(want.width / width, want.height / height)
    # YOLOX's own script truncates; rounding distorts half as much and agrees with the other families.
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def scales(want: Preparation, width: int, height: int) -> tuple[float, float]:
    """Tensor pixels per pixel of a picture of `width` by `height`, across and down.

    A letterbox has one scale, as its families' own code has it: rounding the sides to whole pixels is left out, which
    costs half a tensor pixel at most.
    """
    if want.fit.startswith("letterbox"):
        ratio = min(want.width / width, want.height / height)
        return ratio, ratio
    resized_width, resized_height = resized_size(want, width, height)
    return resized_width / width, resized_height / height


def offsets(want: Preparation, width: int, height: int) -> tuple[int, int]:
    """Left and top of a resized picture in the tensor; negative where it is cropped.

    An odd pixel of padding goes to the right and below, as Ultralytics has it.
    """
    if want.fit in ("stretch", "letterbox_corner"):
        return 0, 0
    return int((want.width - width) / 2), int((want.height - height) / 2)


def _strip_cut(want: Preparation, width: int, height: int) -> tuple[tuple[slice, slice], int, int]:
    """The middle of a strip before a centre crop, with its width and height; the whole of anything else."""
    if want.fit != "crop_center":
        return np.s_[:, :], width, height
    kept_width, kept_height = min(width, ASPECT_MAX * height), min(height, ASPECT_MAX * width)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return np.s_[top : top + kept_height, left : left + kept_width], kept_width, kept_height
