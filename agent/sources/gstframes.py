"""Raw pictures out of GStreamer's `rtpgstpay ! rtpstreampay`: each with the caps that it has.

Raw video in a pipe does not say where a picture ends or how large it is. Of the elements that do, these come with the
plugins that everybody has, and tell a new size together with the first picture of it. A packet is: its length in two
bytes (RFC 4571); an RTP header; eight bytes that say whether caps or an event come first, and where in its buffer
the packet belongs; and the bytes themselves.
"""

import re
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.sources import Pixels

FORMAT = "I420"
# One matrix for all: what OpenCV makes of it later cannot be told of BT.709 or full range.
TAIL = (
    f"videoconvert ! video/x-raw,format={FORMAT},colorimetry=bt601 "
    "! rtpgstpay mtu=60000 config-interval=1 ! rtpstreampay"
)
"""The end of a pipeline whose output is read here."""

_RTP_BYTES = 12
_HEAD_BYTES = 2 + _RTP_BYTES + 8
_HAS_CAPS = 0x80
_CAPS = re.compile(r"video/x-raw(?:\([^)]*\))?, .*")
_FIELD = re.compile(r"\b(format|width|height)=(?:\(\w+\))?\"?([\w-]+)")
_LENGTH_BYTES_MAX = 3
_PIXELS_MAX = 100_000_000


class NotPictures(Exception):
    """What came is not what the pipeline's end makes."""


class Readable(Protocol):
    """A buffered binary stream."""

    def read(self, size: int, /) -> bytes:
        """As `io.BufferedIOBase` has it."""
        ...

    def readinto(self, buffer: memoryview, /) -> int:
        """As `io.BufferedIOBase` has it."""
        ...


class Layout(NamedTuple):
    """Where a picture's bytes lie: rows padded to 4 bytes, and planes to even heights."""

    width: int
    height: int

    @property
    def rows(self) -> int:
        """Of the luma plane; each chroma plane has half of that."""
        return 2 * _half(self.height)

    @property
    def stride(self) -> int:
        """Bytes from one luma row to the next."""
        return _to_4(self.width)

    @property
    def chroma_stride(self) -> int:
        """Bytes from one chroma row to the next."""
        return _to_4(_half(self.width))

    @property
    def nbytes(self) -> int:
        """Of a picture."""
        return self.rows * (self.stride + self.chroma_stride)


class _Packet(NamedTuple):
    """What stands before a packet's bytes."""

    nbytes: int
    last: bool
    has_caps: bool
    event: bool
    offset: int


class Reader:
    """Pictures from a stream.

    Args:
        stream: Read from, and not closed.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._layout = Layout(0, 0)
        self._frame = np.empty(0, np.uint8)
        self._filled = 0  # bytes of it
        self._before = 0  # bytes of its caps, which its offsets count too
        self._bgr: Pixels | None = None

    def grab(self) -> bool:
        """Read the next picture; False at the end, also in the middle of a picture.

        Raises:
            NotPictures: Something else came.
        """
        try:
            while not self._take_packet():
                pass
        except EOFError:
            return False
        return True

    def retrieve(self) -> Pixels:
        """The picture as [height, width, 3] BGR; valid until the next call."""
        planes = _even_planes(self._frame, self._layout)
        self._bgr = np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420, dst=self._bgr), np.uint8)
        return self._bgr[: self._layout.height, : self._layout.width]

    def _take_packet(self) -> bool:
        """Read a packet; True when it completes a picture. Raises EOFError at the end."""
        packet = self._next_packet()
        if packet.event:
            self._exactly(packet.nbytes)
            return False
        nbytes = packet.nbytes
        if packet.offset == 0:
            self._filled = self._before = 0
            if packet.has_caps:
                self._before = self._read_caps(nbytes)
                nbytes -= self._before
        elif packet.offset != self._before + self._filled:
            raise NotPictures(f"a part at {packet.offset} came after {self._filled} bytes")
        end = self._filled + nbytes
        if end > len(self._frame) or (packet.last and end < len(self._frame)):
            raise NotPictures(f"{end} bytes instead of the {len(self._frame)} of {self._layout}")
        if self._stream.readinto(self._frame.data[self._filled : end]) < nbytes:
            raise EOFError
        self._filled = end
        return packet.last

    def _exactly(self, nbytes: int) -> bytes:
        data = self._stream.read(nbytes)
        if len(data) < nbytes:
            raise EOFError
        return data

    def _next_packet(self) -> _Packet:
        """Read what stands before the next packet's bytes."""
        head = self._exactly(_HEAD_BYTES)
        nbytes = int.from_bytes(head[:2], "big") - (_HEAD_BYTES - 2)
        if head[2] != 0x80 or nbytes < 0:  # noqa: PLR2004  # RTP version 2, no padding, extension or sources
            raise NotPictures(f"expected a packet, got {head[:16].hex(' ')}")
        return _Packet(
            nbytes=nbytes,
            last=bool(head[3] & 0x80),
            has_caps=bool(head[14] & _HAS_CAPS),
            event=head[15] != 0,
            offset=int.from_bytes(head[18:22], "big"),
        )

    def _read_caps(self, nbytes: int) -> int:
        """Take the caps at the beginning of a packet of `nbytes`: how many bytes they and their length were."""
        length = read = 0
        more = True
        while more and read < _LENGTH_BYTES_MAX:
            [byte] = self._exactly(1)
            read += 1
            length = length << 7 | byte & 0x7F
            more = byte >= 0x80  # noqa: PLR2004  # seven bits each, and whether more follow
        if not 0 < length <= nbytes - read:
            raise NotPictures(f"caps of {length} bytes in a packet of {nbytes}")
        layout = layout_of(self._exactly(length).decode(errors="replace").rstrip("\0"))
        if layout != self._layout:
            self._layout = layout
            self._frame = np.empty(layout.nbytes, np.uint8)
            self._bgr = None
        return read + length


def layout_of(caps: str) -> Layout:
    """The layout that caps tell of.

    Raises:
        NotPictures: They are not of I420 pictures.
    """
    fields = dict(_FIELD.findall(caps))
    if not _CAPS.fullmatch(caps) or fields.get("format") != FORMAT:
        raise NotPictures(f"expected raw video as {FORMAT}, got '{caps[:200]}'")
    width, height = (
        int(fields.get(side, "")) if fields.get(side, "").isdecimal() else 0 for side in ("width", "height")
    )
    if not 0 < width * height <= _PIXELS_MAX:
        raise NotPictures(f"a picture of {width} x {height} pixels")
    return Layout(width, height)


def _half(count: int) -> int:
    return (count + 1) // 2


def _to_4(count: int) -> int:
    return (count + 3) // 4 * 4


def _even_planes(frame: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """The picture as OpenCV wants it, [1.5 height, width] without padding and of even sides: itself where it is so."""
    width, height = 2 * _half(layout.width), layout.rows
    if (layout.width, layout.height) == (width, height) and layout.chroma_stride * 2 == layout.stride == width:
        return frame.reshape(height * 3 // 2, width)
    luma = layout.stride * height
    grey = frame[:luma].reshape(height, layout.stride)[: layout.height, : layout.width]
    grey = np.pad(grey, ((0, height - layout.height), (0, width - layout.width)), mode="edge")
    colours = frame[luma:].reshape(2, height // 2, layout.chroma_stride)[:, :, : width // 2]
    return np.concatenate([grey.ravel(), colours.ravel()]).reshape(height * 3 // 2, width)
