"""What the agent takes of the memory, and whether that grows.

    python benchmarks/memory.py over [MODEL.onnx SOURCE]    main process against a bare one; each capture process
    python benchmarks/memory.py growth [--frames N]          a small model, N frames after the first 50,000

Both run the whole agent, with outbox and uplink to a live broker (a mosquitto of its own) and a stand-in collector.
`over` compares the resident memory of the main process with that of a process that has the same imports and a session
of the same model. `growth` reads resident memory, too: the shares of PSS change when other programs come and go.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.benching.whole import Whole
from agent.config import Settings, StreamSettings

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/ripeness"
OVER_MB_MAX = 40
CAPTURE_MB_MAX = 70
GROWTH_MB_MAX = 2
SETTLED_FRAMES = 50_000

_BARE = """
import os, sys
from pathlib import Path
import numpy as np
from agent import build, service, uplink, outbox, snapshots, seal, loop, glance
from agent.benching import child, figures
from agent.model import Model
from agent.session import Runtime
model = Model.load(sys.argv[1], runtime=Runtime(threads=1))
tensor, _ = model.looker().prepare(np.zeros((480, 640, 3), np.uint8))
for _ in range(20):
    model.infer(tensor)
print(figures.memory_mb(os.getpid())["rss"], figures.memory_mb(os.getpid())["pss"])
"""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    over = commands.add_parser("over")
    over.add_argument("model", nargs="?", type=Path, default=EXAMPLE / "ripeness.onnx")
    over.add_argument("source", nargs="?", type=Path, default=EXAMPLE / "south.mp4")
    over.add_argument("--seconds", type=float, default=10)
    over.set_defaults(run=lambda args: print_over(args.model, args.source, args.seconds))
    growth = commands.add_parser("growth")
    growth.add_argument("--frames", type=int, default=450_000)
    growth.add_argument("--settled", type=int, default=SETTLED_FRAMES)
    growth.add_argument("--every", type=float, default=10, help="seconds between two readings")
    growth.add_argument("--json", type=Path, help="write every reading there")
    growth.set_defaults(run=lambda args: print_growth(args.settled, args.frames, args.every, args.json))
    args = parser.parse_args()
    args.run(args)


def print_over(model: Path, source: Path, seconds: float) -> None:
    """Main process over a bare one, and the capture process, for one look at a time and for as many as the cores."""
    bare_rss, bare_pss = (float(word) for word in output([sys.executable, "-c", _BARE, str(model)]).split())
    print(f"{model.name} on {source.name}: a bare process {bare_rss:.1f} MB RSS, {bare_pss:.1f} MB PSS")
    for looks in (1, 0):
        stream = StreamSettings(
            name="bench", source={"files": str(source.resolve()), "loop": True}, model=str(model.resolve())
        )
        settings = Settings(streams=[stream], looks=looks)
        with tempfile.TemporaryDirectory() as folder, Whole(settings, Path(folder)) as whole:
            fps = whole.fps(seconds)
            memory = whole.memory_mb()
            over = memory["agent"]["rss"] - bare_rss
            capture = memory["capture"]["pss"]
            print(f"  {whole.facts.looks} look(s) at once, {fps:.0f} frames/s")
            print(f"    main process {memory['agent']['rss']:.1f} MB RSS, {over:+.1f} over the bare one", end=" ")
            print(f"({verdict(over, OVER_MB_MAX)})")
            print(f"    capture process {capture:.1f} MB PSS ({verdict(capture, CAPTURE_MB_MAX)})")


def print_growth(settled: int, frames: int, every_s: float, to: Path | None) -> None:
    """Memory after `settled` frames, and after `frames` more."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stream = StreamSettings(
            name="bench",
            source={"synthetic": "bench", "width": 64, "height": 64},
            model=str(tiny_model(folder / "tiny.onnx")),
        )
        with Whole(Settings(streams=[stream]), folder, keep=False) as whole:
            readings = read(whole, settled + frames, every_s)
        if to:
            to.write_text(json.dumps(readings))
    before = [one for one in readings if one["frames"] >= settled]
    first, last = before[: max(1, len(before) // 20)], before[-max(1, len(before) // 20) :]
    print(f"{readings[-1]['frames']:.0f} frames in {readings[-1]['s']:.0f} s, {len(readings)} readings")
    for process in ("agent", "capture"):
        start, end = (statistics.median(one[process] for one in part) for part in (first, last))
        most = max(one[process] for one in before)
        print(
            f"  {process}: {start:.2f} MB RSS from {first[0]['frames']:.0f} frames, {end:.2f} at the end,"
            f" {end - start:+.2f} ({verdict(end - start, GROWTH_MB_MAX)}); {most:.2f} at most"
        )


def read(whole: Whole, frames: int, every_s: float) -> list[dict[str, float]]:
    """Let the agent work, and read its memory now and then, until it did `frames` frames."""
    began, done = time.monotonic(), 0
    readings: list[dict[str, float]] = []
    while done < frames:
        whole.fps(every_s)
        done += whole.done
        memory = whole.memory_mb()
        readings.append(
            {"frames": done, "s": time.monotonic() - began, **{name: of["rss"] for name, of in memory.items()}}
        )
        print(" ".join(f"{name} {value:.2f}" for name, value in readings[-1].items()), file=sys.stderr)
    return readings


def verdict(value: float, most: float) -> str:
    """Whether a target is met."""
    return f"target: at most {most}, {'met' if value <= most else 'MISSED'}"


def output(command: list[str]) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout  # noqa: S603  # our own


def tiny_model(path: Path) -> Path:
    """Write a detector in the layout of an Ultralytics v8 export that always sees two things."""
    values = np.zeros((1, 6, 84), np.float32)
    values[0, :, 5] = 32, 28, 32, 24, 0.9, 0.1
    values[0, :, 60] = 12, 12, 20, 20, 0.2, 0.7
    graph = helper.make_graph(
        [helper.make_node("Identity", ["values"], ["output0"])],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(values.shape))],
        [numpy_helper.from_array(values, "values")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in {"names": "{0: 'one', 1: 'other'}", "task": "detect"}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


if __name__ == "__main__":
    main()
