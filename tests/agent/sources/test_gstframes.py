"""Pictures with their caps in a stream, byte by byte; tests of `agent.sources.gstreamer` read GStreamer's own."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.gstframes import Layout, NotPictures, Reader, layout_of

HEAD = 8
EVENT = 4
SIDES = st.integers(1, 40)


def caps(width, height):
    return f"video/x-raw, format=(string)I420, width=(int){width}, height=(int){height}, views=(int)1\0"


def packets(data, mtu=200, prefix="", event=0):
    """A buffer in packets, as `rtpgstpay ! rtpstreampay` cut it."""
    told = prefix.encode()
    length = bytes([0x80 | len(told) >> 7, len(told) & 0x7F]) if told else b""
    data = length + told + data
    out = b""
    for at in range(0, len(data), mtu):
        part = data[at : at + mtu]
        last = at + mtu >= len(data)
        rtp = bytes([0x80, (0x80 if last else 0) | 96]) + bytes(10)
        head = bytes([0x80 if told else 0, event, 0, 0]) + at.to_bytes(4, "big")
        out += (len(rtp) + len(head) + len(part)).to_bytes(2, "big") + rtp + head + part
    return out


def picture(width, height, level):
    """Grey, as it lies in memory; padding is bright and coloured, so that it shows where it gets in."""
    layout = Layout(width, height)
    luma = np.full((layout.rows, layout.stride), 255, np.uint8)
    luma[:height, :width] = level
    colours = np.full((2, layout.rows // 2, layout.chroma_stride), 255, np.uint8)
    colours[:, :, : (width + 1) // 2] = 128
    return luma.tobytes() + colours.tobytes()


def shown(data):
    """Size and grey level of every picture in `data`; a picture of several levels is an error."""
    reader = Reader(io.BytesIO(data))
    found = []
    while reader.grab():
        pixels = reader.retrieve()
        assert pixels.min() == pixels.max()
        found.append((*pixels.shape[1::-1], round(int(pixels[0, 0, 0]) * 219 / 255 + 16)))
    return found


@given(SIDES, SIDES, st.integers(150, 3000), st.lists(st.integers(16, 235), min_size=1, max_size=4))
def test_any_size_is_read_in_packets_of_any_size(width, height, mtu, levels):
    told = [caps(width, height)] + [""] * (len(levels) - 1)
    data = [packets(picture(width, height, level), mtu, prefix) for level, prefix in zip(levels, told, strict=True)]
    assert shown(b"".join(data)) == [(width, height, level) for level in levels]


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_size_may_change_at_any_picture_and_be_told_again(width, height, other_width, other_height):
    event = packets(b"an event that nobody here understands", event=EVENT, prefix="")
    first, second = picture(width, height, 50), picture(other_width, other_height, 90)
    data = event + packets(first, prefix=caps(width, height)) + packets(first) + event
    data += packets(second, prefix=caps(other_width, other_height)) * 2 + event
    assert shown(data) == [(width, height, 50)] * 2 + [(other_width, other_height, 90)] * 2


@given(st.integers(0, 1200))
def test_a_stream_that_breaks_off_gives_whole_pictures_only(length):
    one = packets(picture(16, 9, 77), prefix=caps(16, 9))
    assert shown((one * 3)[:length]) == [(16, 9, 77)] * min(3, length // len(one))


PART = 22
"""Bytes before those of the picture, in each packet."""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello, this is no stream of packets", "expected a packet, got 68 65 6c"),
        (packets(bytes(10)), "10 bytes instead of the 0 of"),
        (packets(bytes(10), prefix=caps(16, 8)), "10 bytes instead of the 192 of"),
        (packets(bytes(500), prefix=caps(16, 8)), "(178|200|3[0-9]+) bytes instead of the 192 of"),
        (packets(picture(16, 8, 9), mtu=150, prefix=caps(16, 8))[150 + PART :], "a part at 150 came after 0 bytes"),
        (packets(bytes(3), prefix="audio/x-raw, rate=(int)8000"), "expected raw video as I420, got 'audio/x-raw"),
        (packets(bytes(3), prefix="video/x-raw, format=(string)NV12, width=8, height=8"), "got 'video/x-raw, format="),
        (packets(bytes(3), prefix=caps(99999, 99999)), "a picture of 99999 x 99999 pixels"),
        (packets(bytes(3), prefix=caps(0, 9)), "a picture of 0 x 9 pixels"),
    ],
)
def test_anything_else_is_refused(data, message):
    with pytest.raises(NotPictures, match=message):
        shown(data)


@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_that(data):
    with contextlib.suppress(NotPictures):
        assert shown(data) == []


def test_caps_with_and_without_types_are_understood():
    assert layout_of("video/x-raw, format=(string)I420, width=(int)64, height=(int)48") == (64, 48)
    assert layout_of("video/x-raw(memory:SystemMemory), width=64, height=48, format=I420") == (64, 48)
