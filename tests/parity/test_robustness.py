"""Pictures that are turned, unusual or broken, from other projects' test suites."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.pictures import PIXELS_MAX, read
from agent.sources import Unreadable

pytestmark = pytest.mark.assets


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("view", ["Landscape", "Portrait"])
def test_every_orientation_is_turned_upright(assets: Path, view: str, orientation: int):
    """The eight files show one view, saved in eight ways; what differs is JPEG's loss."""
    folder = assets / "images" / "robustness" / "exif"
    upright, turned = (read(folder / f"{view}_{number}.jpg").astype(int) for number in (0, orientation))
    assert turned.shape == upright.shape
    assert np.abs(turned - upright).mean() < 5


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("hopper.bmp", (128, 128, 3)),
        ("hopper.webp", (128, 128, 3)),
        ("hopper.tif", (128, 128, 3)),
        ("hopper_gray.jpg", (128, 128, 3)),
        ("hopper_16bit.pgm", (128, 128, 3)),
        ("16bit.cropped.tif", (64, 64, 3)),
        ("transparent.png", (150, 200, 3)),
        ("pil_sample_cmyk.jpg", (100, 100, 3)),
        ("junk_jpeg_header.jpg", (768, 1024, 3)),
        ("invalid-exif.jpg", (200, 200, 3)),
        ("png_decompression_dos.png", (1, 1, 3)),
    ],
)
def test_unusual_pictures_are_read(assets: Path, name: str, shape: tuple[int, int, int]):
    pixels = read(assets / "images" / "robustness" / "pillow" / name)
    assert (pixels.shape, str(pixels.dtype)) == (shape, "uint8")


@pytest.mark.skipif(not cv2.haveImageWriter(".gif"), reason="OpenCV 4 reads no GIF")
def test_a_palette_is_looked_up(assets: Path):
    folder = assets / "images" / "robustness" / "pillow"
    palette, full = (read(folder / name).astype(int) for name in ("hopper.gif", "hopper.png"))
    assert np.abs(palette - full).mean() < 10


def test_sixteen_bits_show_what_eight_show(assets: Path):
    folder = assets / "images" / "robustness" / "pillow"
    deep, grey = (read(folder / name).astype(int) for name in ("hopper_16bit.pgm", "hopper_gray.jpg"))
    assert np.abs(deep - grey).mean() < 5


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pillow/truncated_image.png", "cannot be decoded: it is damaged"),
        ("pillow/truncated_jpeg.jpg", "cannot be decoded: it is damaged"),
        ("pillow/broken.png", "is damaged"),
        ("pillow/broken_data_stream.png", "it is damaged"),
        ("pillow/zero_width.gif", "claims to be 0x"),
        ("pillow/negative_size.ppm", "is damaged"),
        ("pillow/decompression_bomb.gif", "it is damaged"),
        ("bmp_bad/reallybig.bmp", "claims to be 3000000x2000000 pixels; 100 million are allowed"),
        ("bmp_bad/badwidth.bmp", "claims to be -127x64 pixels"),
        ("bmp_bad/shortfile.bmp", "it is damaged"),
        ("pillow/decompression_bomb.ico", "is no picture in a format that is read here"),
        ("pillow/zero_height.j2k", "is no picture in a format that is read here"),
    ],
)
def test_broken_pictures_are_refused_with_the_reason(assets: Path, name: str, reason: str):
    path = assets / "images" / "robustness" / name
    with pytest.raises(Unreadable) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert reason in str(refused.value)


def test_whatever_comes_is_a_picture_or_refused(assets: Path):
    for path in sorted((assets / "images" / "robustness").glob("*/*.*")):
        try:
            pixels = read(path)
        except Unreadable:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert 0 < pixels.shape[0] * pixels.shape[1] <= PIXELS_MAX
