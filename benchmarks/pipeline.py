"""What looking costs beyond the bare runtime: the agent's prepare, infer and decode against bare `session.run`.

Both look at the same frames, in alternated pairs within one run, so that a busy machine slows both. Printed are
the median of the pairs' ratios and its 95 % interval (bootstrap over pairs).

    python benchmarks/pipeline.py [MODEL.onnx] [CLIP] [--pairs N] [--frames N]
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from agent.model import Looker, Model
from agent.sources import Pixels

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/ripeness"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=EXAMPLE / "ripeness.onnx")
    parser.add_argument("clip", nargs="?", type=Path, default=EXAMPLE / "south.mp4")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    model = Model.load(args.model, threads=args.threads)
    looker = model.looker()
    frames = read(args.clip, args.frames)
    tensors = [looker.prepare(frame)[0].copy() for frame in frames]

    def bare() -> None:
        for tensor in tensors:
            model.infer(tensor)

    def whole() -> None:
        for frame in frames:
            look(looker, frame)

    bare()  # warm
    whole()
    pairs = [(seconds(bare), seconds(whole)) for _ in range(args.pairs)]
    ratios = [bare_s / whole_s for bare_s, whole_s in pairs]
    low, high = interval(ratios)
    print(
        f"model    {model.name} {model.version}, {model.input_size[0]}x{model.input_size[1]}, {args.threads} thread(s)"
    )
    print(f"clip     {args.clip.name}, {len(frames)} frames, {args.pairs} alternated pairs")
    print(f"bare     {len(frames) / statistics.median(p[0] for p in pairs):8.1f} frames/s")
    print(f"agent    {len(frames) / statistics.median(p[1] for p in pairs):8.1f} frames/s")
    print(f"ratio    {statistics.median(ratios):8.3f}  (95 % interval {low:.3f} to {high:.3f})")
    print_stages(looker, frames)


def look(looker: Looker, frame: Pixels) -> None:
    """One frame, as the agent's loop does it."""
    tensor, placement = looker.prepare(frame)
    looker.decode(looker.infer(tensor), placement)


def print_stages(looker: Looker, frames: list[Pixels]) -> None:
    """Median time of each stage, in ms."""
    laps: dict[str, list[float]] = {"prepare": [], "infer": [], "decode": []}
    for frame in frames:
        t0 = time.perf_counter()
        tensor, placement = looker.prepare(frame)
        t1 = time.perf_counter()
        outputs = looker.infer(tensor)
        t2 = time.perf_counter()
        looker.decode(outputs, placement)
        t3 = time.perf_counter()
        for name, lap in zip(laps, (t1 - t0, t2 - t1, t3 - t2), strict=True):
            laps[name].append(lap * 1000)
    print("stages   " + ", ".join(f"{name} {statistics.median(lap):.2f} ms" for name, lap in laps.items()))


def read(path: Path, count: int) -> list[Pixels]:
    """The first `count` frames of a clip."""
    clip = cv2.VideoCapture(str(path))
    frames: list[Pixels] = []
    while len(frames) < count:
        ok, frame = clip.read()
        if not ok:
            break
        frames.append(frame.astype("uint8", copy=False))
    clip.release()
    if not frames:
        raise SystemExit(f"{path}: no frame can be read")
    return frames


def seconds(work: Callable[[], None]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    dice = random.Random(1)  # noqa: S311  # statistics, not secrets
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


if __name__ == "__main__":
    main()
