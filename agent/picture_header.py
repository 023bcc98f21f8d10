"""How large a picture says it is, from its first bytes, without decoding anything.

Layouts: PNG (W3C, 11.2.1 IHDR), JPEG (ITU-T T.81, B.2.2 frame header), GIF89a (18), BMP (BITMAPINFOHEADER and
BITMAPCOREHEADER), WebP (RFC 9649, 2), TIFF 6.0 (2, image file header and directory), Netpbm (pnm(5)).
"""

import re
import struct

FORMATS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    **{b"P%d" % kind: "PNM" for kind in range(1, 7)},
}
"""First bytes of a file, and the format that they mean. AVI videos begin with RIFF as well: `is_picture` knows."""

_PNM_HEADER = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(-?\d+)(?:\s+|#[^\n]*\n)+(-?\d+)")
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""JPEG markers that no length follows."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers of a frame header; the three are tables and a reserved one."""
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with `head`, of 16 bytes or more, is a picture of one of `FORMATS`."""
    return any(head.startswith(magic) for magic in FORMATS) and (head[:4] != b"RIFF" or head[8:12] == b"WEBP")


def is_whole(data: bytes) -> bool:
    """Whether a JPEG comes to its end marker; True for other formats, whose decoders notice by themselves.

    OpenCV 4 fills what is missing of a JPEG with grey: a model would look at that.
    """
    return not data.startswith(b"\xff\xd8\xff") or data.rfind(b"\xff\xd9") > _jpeg_frame(data)


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels that a picture claims; None when it is of no known format, or ends too soon."""
    kind = next((name for magic, name in FORMATS.items() if data.startswith(magic)), None)
    try:
        return _READERS[kind](data) if kind else None
    except (struct.error, IndexError):
        return None


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    return numbers[0], numbers[1]


def _png(data: bytes) -> tuple[int, int] | None:
    return _pair(struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int]:
    return _pair(struct.unpack_from("<HH", data, 6))


def _bmp(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)  # noqa: PLR2004  # core header
    return width, abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if data[8:12] != b"WEBP":
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = _jpeg_frame(data)
    if at < 0:
        return None
    height, width = struct.unpack_from(">HH", data, at + 5)
    return width, height


def _jpeg_frame(data: bytes) -> int:
    """Where the frame header is, -1 without one; stray bytes between segments are passed over, as decoders do."""
    at = 2
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 3:
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            return at
        if marker in (0x00, 0xFF) or marker in _JPEG_ALONE:
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return -1


def _tiff(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    sizes: dict[int, int] = {}
    for index in range(count):
        at = directory + 2 + 12 * index
        tag, kind = struct.unpack_from(f"{order}HH", data, at)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (sizes[tag],) = struct.unpack_from(f"{order}{'H' if kind == _TIFF_SHORT else 'I'}", data, at + 8)
    return (sizes[_TIFF_WIDTH], sizes[_TIFF_HEIGHT]) if len(sizes) == 2 else None  # noqa: PLR2004  # both of them


def _pnm(data: bytes) -> tuple[int, int] | None:
    match = _PNM_HEADER.match(data[:4096])
    return (int(match[1]), int(match[2])) if match else None


_READERS = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "BMP": _bmp, "WebP": _webp, "TIFF": _tiff, "PNM": _pnm}
