"""`make bench`: the whole agent against the bare runtime, the naive pipeline and ultralytics, in one table.

    python benchmarks/table.py [--quick] [MODEL.onnx ...]

Without models: the shipped one and those in ../shared/assets, on a clip from there. Each line is a trial of
`vigie-agent bench`, with the naive pipeline (`naive.py`) as a third contender in the same alternated rounds.
Ultralytics takes part where the environment variable ULTRALYTICS_PYTHON names an interpreter that has it, or this one
has it.

A target is missed when the whole 95 % interval is below it.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import onnxruntime as ort
from memory import print_over
from naive import Naive
from traffic import print_traffic

from agent.benching import trial
from agent.benching.trial import Contender, Result, Wanted
from agent.benching.whole import Broken
from agent.check import load_model
from agent.config import Settings, StreamSettings
from agent.model import ModelError
from agent.sources import Pixels

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT.parent / "shared/assets"
SHIPPED = ROOT / "examples/ripeness/ripeness.onnx", ROOT / "examples/ripeness/south.mp4"
CLIP = ASSETS / "videos/intel_one-by-one-person-detection.mp4"
HERE = Path(__file__).resolve().parent

SLOW_MS, QUICK_MS = 40, 10
SLOW_RATIO, MIDDLE_RATIO, ULTRALYTICS_RATIO = 0.95, 0.85, 1.3
_SIDE = 320
_PATIENCE_S = 300


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, without small print")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--clip", type=Path, help="instead of the one in ../shared/assets")
    args = parser.parse_args()
    pairs, seconds = args.pairs or (5 if args.quick else 10), args.seconds or (0.5 if args.quick else 0.7)
    began = time.monotonic()
    print(f"{len(os.sched_getaffinity(0))} cores, onnxruntime {ort.__version__}, {pairs} alternated rounds a line\n")
    print(HEAD)
    for model, clip in trials(args.models, args.clip, quick=args.quick):
        print(line(model, clip, pairs, seconds), flush=True)
    print()
    against_ultralytics(args.clip or (CLIP if CLIP.exists() else SHIPPED[1]), pairs, seconds)
    print(flush=True)
    # In a process of its own: how long blobFromImage takes hangs on what its process did before.
    subprocess.run([sys.executable, str(HERE / "preparing.py"), "--pairs", str(pairs)], check=True)  # noqa: S603  # our own
    print()
    print_over(*SHIPPED, seconds=3)
    print(flush=True)
    print_traffic(60 if args.quick else 180)
    print(f"\n{time.monotonic() - began:.0f} s")


HEAD = (
    f"{'model':<34}{'bare ms':>8} {'best of':<8}{'agent fps':>10}{'ratio':>7}  {'95 %':<14}{'target':<22}"
    f"{'overhead ms':>12}{'naive':>7}"
)


def trials(models: Sequence[Path], clip: Path | None, *, quick: bool) -> Iterator[tuple[Path, Path]]:
    """Each model with its clip."""
    if models:
        yield from ((model, clip or (CLIP if CLIP.exists() else SHIPPED[1])) for model in models)
        return
    yield SHIPPED
    found = sorted((ASSETS / "models").glob("*.onnx"))
    for model in found[::3] if quick else found:
        yield model, clip or CLIP


def line(model: Path, clip: Path, pairs: int, seconds: float) -> str:
    """One model's line of the table."""
    try:
        result = measured(model, clip, pairs, seconds)
    except (ModelError, Broken) as error:
        return f"{model.name:<34}not measured: {error}"
    ratio, (low, high) = result.ratio()
    bare_ms, whole_ms = (1000 / statistics.median(result.fps[name]) for name in ("bare", "pipeline"))
    naive, _ = result.ratio(below="naive")
    setting = f"{result.bare.threads}{' spin' if result.bare.spinning else ''}"
    return (
        f"{model.name:<34}{bare_ms:>8.2f} {setting:<8}{1000 / whole_ms:>10.1f}{ratio:>7.2f}  "
        f"{f'{low:.2f} to {high:.2f}':<14}{judged(bare_ms, high):<22}{whole_ms - bare_ms:>+12.2f}{naive:>6.1f}x"
    )


def judged(bare_ms: float, high: float) -> str:
    """The target that a model of `bare_ms` has, and whether the interval that ends at `high` meets it."""
    if bare_ms < QUICK_MS:
        return "(overhead only)"
    target = SLOW_RATIO if bare_ms >= SLOW_MS else MIDDLE_RATIO
    return verdict(target, high)


def verdict(target: float, high: float) -> str:
    """Missed when the whole interval is below."""
    return f"at least {target:.2f}: {'met' if high >= target else 'MISSED'}"


def measured(model: Path, clip: Path, pairs: int, seconds: float, rival: Contender | None = None) -> Result:
    """A trial with the naive pipeline, and with a rival if there is one."""
    stream = StreamSettings(
        name="bench", source={"files": str(clip.resolve()), "loop": True}, model=str(model.resolve())
    )
    settings = Settings(streams=[stream])

    def others(_frames: Sequence[Pixels]) -> Mapping[str, Contender]:
        loaded = load_model(settings, stream, Path())
        known: dict[str, Contender] = {"naive": Naive(loaded, clip).fps}
        return {**known, "rival": rival} if rival else known

    return trial.run(Wanted(settings, pairs, seconds), others)


def against_ultralytics(clip: Path, pairs: int, seconds: float) -> None:
    """The whole agent against ultralytics' `predict`, on one ONNX file that ultralytics exported."""
    python = os.environ.get("ULTRALYTICS_PYTHON") or (
        sys.executable if importlib.util.find_spec("ultralytics") else None
    )
    if python is None:
        print("ultralytics: not installed here; name an interpreter that has it in ULTRALYTICS_PYTHON")
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = Path(_export(python, folder))
            with _ultralytics(python, model, clip) as rival:
                result = measured(model, clip, pairs, max(seconds, 1.0), rival)
        except (ModelError, Broken, OSError, subprocess.SubprocessError) as error:
            print(f"ultralytics: not measured: {error}")
            return
    ratio, (low, high) = result.ratio(below="rival")
    bare, _ = result.ratio()
    whole, other = (statistics.median(result.fps[name]) for name in ("pipeline", "rival"))
    print(f"ultralytics predict, YOLO11n {_SIDE} with random weights, {clip.name}: {other:.1f} frames/s")
    print(f"  the agent: {whole:.1f} frames/s, {bare:.2f} of the bare runtime's")
    print(f"  {ratio:.2f} times ultralytics ({low:.2f} to {high:.2f}), {verdict(ULTRALYTICS_RATIO, high)}")


def _export(python: str, folder: str) -> str:
    command = [python, str(HERE / "ultralytics_process.py"), "export", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S, env=_their_own())  # noqa: S603  # as asked for
    return done.stdout.strip().splitlines()[-1]


@contextmanager
def _ultralytics(python: str, model: Path, clip: Path) -> Iterator[Contender]:
    """Their `predict` as a contender."""
    command = [python, str(HERE / "ultralytics_process.py"), "predict", str(model), str(clip), str(_SIDE)]
    process = subprocess.Popen(  # noqa: S603  # as asked for
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_their_own()
    )

    def fps(seconds: float) -> float:
        if process.stdin is None or process.stdout is None:
            raise Broken("ultralytics has no pipes")
        with suppress(BrokenPipeError):
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise Broken("ultralytics' predict ended")
        return float(answer)

    try:
        yield fps
    finally:
        process.kill()
        process.wait()


def _their_own() -> dict[str, str]:
    """The environment without our import path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


if __name__ == "__main__":
    main()
