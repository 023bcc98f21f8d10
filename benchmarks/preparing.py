"""What `prepare` costs against `cv2.dnn.blobFromImage`, which does less: it knows no letterbox.

    python benchmarks/preparing.py [--pairs N]

The same pictures, in alternated pairs within one run, on one core: the median of the pairs' ratios and its 95 %
interval. The target is missed when the whole interval is above it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.benching import figures
from agent.decoders import Preparation
from agent.preparing import Preparer

TARGET = 0.35
_CALLS_S = 0.1
_IMAGENET = (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)

CASES = {
    "1280x720 to 640x640": ((1280, 720), Preparation(640, 640)),
    "1920x1080 to 640x640": ((1920, 1080), Preparation(640, 640)),
    "640x360 to 416x416, corner, BGR": (
        (640, 360),
        Preparation(416, 416, fit="letterbox_corner", colour="bgr", scale=(1.0, 1.0, 1.0)),
    ),
    "768x432 to 320x320": ((768, 432), Preparation(320, 320)),
    "1280x720 to 320x320, stretch, mean and std": (
        (1280, 720),
        Preparation(320, 320, fit="stretch", mean=_IMAGENET[0], scale=_IMAGENET[1]),
    ),
    "1280x720 to 224x224, centre crop": (
        (1280, 720),
        Preparation(224, 224, fit="crop_center", resize_to=256, mean=_IMAGENET[0], scale=_IMAGENET[1]),
    ),
    "1280x720 to 640x640, float16": ((1280, 720), Preparation(640, 640, dtype="float16")),
    "1280x720 to 640x640, uint8": ((1280, 720), Preparation(640, 640, dtype="uint8", scale=(1.0, 1.0, 1.0))),
    "1280x720 to 640x640, NHWC": ((1280, 720), Preparation(640, 640, layout="nhwc")),
    "1280x720 to 300x300, NHWC, uint8, stretch": (
        (1280, 720),
        Preparation(300, 300, fit="stretch", layout="nhwc", dtype="uint8", scale=(1.0, 1.0, 1.0)),
    ),
    "640x640 to 640x640": ((640, 640), Preparation(640, 640)),
}
"""Size of the picture, and what is wanted."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    print_table(parser.parse_args().pairs)


def print_table(pairs: int) -> None:
    """One line for each case."""
    cv2.setNumThreads(1)
    print(f"{'prepare':<44}{'ms':>8}{'blobFromImage ms':>18}{'ratio':>7}  {'95 %':<14}at most {TARGET}")
    for name, (size, want) in CASES.items():
        ours, theirs = measure(size, want, pairs)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = figures.interval(ratios)
        times = f"{statistics.median(ours) * 1000:>8.3f}{statistics.median(theirs) * 1000:>18.3f}"
        judged = "met" if low <= TARGET else "MISSED"
        print(
            f"{name:<44}{times}{statistics.median(ratios):>7.2f}  {f'{low:.2f} to {high:.2f}':<14}{judged}", flush=True
        )


def measure(size: tuple[int, int], want: Preparation, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds of each call, ours and theirs, by pairs."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    preparer = Preparer(want)

    def ours() -> None:
        preparer(pixels)

    def theirs() -> None:
        blob = cv2.dnn.blobFromImage(pixels, want.scale[0], (want.width, want.height), want.mean, swapRB=True)
        as_wanted(blob, want)

    ours()
    theirs()
    timed = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    return [pair[0] for pair in timed], [pair[1] for pair in timed]


def as_wanted(blob: NDArray[np.generic], want: Preparation) -> NDArray[np.generic]:
    """What else a user would have to do."""
    if want.layout == "nhwc":
        blob = blob.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(blob, dtype=want.dtype)


def seconds(call: Callable[[], None]) -> float:
    """How long a call takes, as the median over a tenth of a second."""
    laps, until = [], time.perf_counter() + _CALLS_S
    while (began := time.perf_counter()) < until:
        call()
        laps.append(time.perf_counter() - began)
    return statistics.median(laps)


if __name__ == "__main__":
    main()
