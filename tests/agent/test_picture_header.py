"""How large a picture says it is."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.picture_header import FORMATS, declared_size, is_picture, is_whole

SUFFIXES = [
    suffix for suffix in (".png", ".jpg", ".bmp", ".gif", ".webp", ".tif", ".ppm") if cv2.haveImageWriter(suffix)
]
"""OpenCV 4 writes no GIF."""


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (300, 7), (5, 700)])
def test_the_size_is_what_was_written(suffix, width, height):
    good, data = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))
    assert good
    assert is_picture(data.tobytes()[:16])
    assert declared_size(data.tobytes()) == (width, height)


def test_a_lossy_webp():
    good, data = cv2.imencode(".webp", np.zeros((50, 70, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 50])
    assert good
    assert declared_size(data.tobytes()) == (70, 50)


def test_an_extended_webp():
    """VP8X: four bytes of flags, then width and height less one, in three bytes each (RFC 9649, 2.7)."""
    sides = (699).to_bytes(3, "little") + (499).to_bytes(3, "little")
    data = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides
    assert declared_size(data) == (700, 500)


def test_a_big_endian_tiff():
    tags = struct.pack(">HHII", 256, 4, 1, 70_000) + struct.pack(">HHIHH", 257, 3, 1, 9, 0)
    assert declared_size(b"MM\0*" + struct.pack(">IH", 8, 2) + tags) == (70_000, 9)


def test_a_pnm_with_comments():
    assert declared_size(b"P6\n# made by hand\n12 # wide\n34\n255\n") == (12, 34)


def test_a_jpeg_with_bytes_between_its_segments():
    good, data = cv2.imencode(".jpg", np.zeros((5, 9, 3), np.uint8))
    assert good
    jpeg = data.tobytes()
    assert declared_size(jpeg[:2] + b"\x00junk" + jpeg[2:]) is None  # its first bytes are no JPEG's
    assert declared_size(jpeg[:4] + jpeg[4:20].replace(b"\xff", b"\0") + jpeg[20:]) == (9, 5)


def test_a_jpeg_is_whole_when_it_comes_to_its_end():
    """An end marker in a preview, before the frame header, is not its end."""
    good, data = cv2.imencode(".jpg", np.zeros((50, 90, 3), np.uint8))
    assert good
    jpeg = data.tobytes()
    preview = b"\xff\xe1\x00\x06\xff\xd9\0\0"
    assert is_whole(jpeg)
    assert is_whole(jpeg + b"trailer")
    assert not is_whole(jpeg[:2] + preview + jpeg[2:-2])


def test_a_video_in_riff_is_no_picture():
    assert not is_picture(b"RIFF\0\0\0\0AVI LIST")


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=80))
def test_any_bytes_are_read_without_an_error(magic, rest):
    declared_size(magic + rest)
