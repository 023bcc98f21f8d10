"""`vigie-agent predict`: what a model sees in pictures and videos, one line for each.

Answers go to standard output, everything else to standard error. A path that cannot be read does not stop the
others, and makes the exit code 1.
"""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from agent import answers, drawing, loading, pictures
from agent.answers import Answer
from agent.model import Looker, Model, ModelError
from agent.pictures import Frame
from agent.sources import Unreadable

OK, FAILED = 0, 1

MS_DIGITS = 3

NS_PER_MS = 1_000_000


def add_parser(commands: Any) -> None:  # noqa: ANN401  # argparse has no public name for what add_subparsers gives
    """Add the command to `commands`."""
    parser = commands.add_parser("predict", help="run a model on pictures and videos, and print what it sees")
    loading.add_options(parser)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a picture, a video, a folder of pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="write each picture there with what was seen in it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; exit code."""
    # Damaged files are reported below, by name and reason; OpenCV's own lines have neither.
    _silence_opencv()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal cannot show is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        model = loading.load(args)
    except (ModelError, ValueError) as error:
        return _complain(error)
    for warning in model.warnings:
        _say(f"{args.model}: {warning}")
    try:
        if not args.json:
            # Not among the answers, which a pipe may read.
            _say(
                f"{args.model}: {model.name} {model.version}: {model.family} ({model.why}), classes: {len(model.names)}"
            )
        return _predict(model, args.paths, as_json=args.json, draw_to=args.draw)
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _predict(model: Model, paths: list[Path], *, as_json: bool, draw_to: Path | None) -> int:
    """Answer for every picture and frame in `paths`; exit code."""
    looker, code = model.looker(), OK
    for path, error in _files(paths):
        if error:
            code = _complain(error)
            continue
        try:
            for frame in pictures.frames(path):
                answer = predict(looker, path, frame)
                print(json.dumps(answer) if as_json else readable(answer), flush=True)  # noqa: T201
                if draw_to is not None:
                    _draw(draw_to, path, frame, answer)
        except BrokenPipeError:
            raise
        except (Unreadable, ModelError, ValueError, OSError) as failure:
            code = _complain(failure)
    return code


def _draw(folder: Path, path: Path, frame: Frame, answer: Answer) -> None:
    """Write the picture with what was seen; a video's frames are numbered.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = "" if frame.number is None else f"-{frame.number:06}"
    picture = drawing.draw(frame.pixels, answer.get("detections") or answer.get("classes", []))
    encoded = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / f"{path.stem}{number}.jpg").write_bytes(encoded)


def _files(paths: list[Path]) -> Iterator[tuple[Path, Unreadable | None]]:
    """Each file that `paths` stand for, or why one of them stands for nothing."""
    for path in paths:
        try:
            files = pictures.expand(path)
        except Unreadable as error:
            yield path, error
            continue
        yield from ((file, None) for file in files)


def predict(looker: Looker, path: Path, frame: Frame) -> Answer:
    """What the model sees in one frame, and what seeing it took.

    Raises:
        ModelError: The runtime failed.
        ValueError: The outputs make no sense; names the file.
    """
    model = looker.model
    started = time.perf_counter_ns()
    tensor, placement = looker.prepare(frame.pixels)
    prepared = time.perf_counter_ns()
    outputs = looker.infer(tensor)
    inferred = time.perf_counter_ns()
    try:
        found = looker.decode(outputs, placement)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    decoded = time.perf_counter_ns()
    number = {} if frame.number is None else {"frame": frame.number}
    return {
        "path": str(path),
        **number,
        "width": placement.width,
        "height": placement.height,
        "model": model.name,
        "task": model.task,
        **answers.seen(model, found),
        "timings_ms": {
            "prepare": round((prepared - started) / NS_PER_MS, MS_DIGITS),
            "infer": round((inferred - prepared) / NS_PER_MS, MS_DIGITS),
            "decode": round((decoded - inferred) / NS_PER_MS, MS_DIGITS),
        },
    }


def readable(answer: Answer) -> str:
    """An answer for people, on one line: `bus.jpg: bus 0.93, person 0.92 (12.3 ms)`."""
    place = f"{answer['path']} frame {answer['frame']}" if "frame" in answer else answer["path"]
    seen = answer["detections"] if "detections" in answer else answer["classes"]
    words = ", ".join(f"{guess['class']} {guess['score']:.2f}" for guess in seen) or "nothing"
    return f"{place}: {words} ({sum(answer['timings_ms'].values()):.1f} ms)"


def _silence_opencv() -> None:
    """OpenCV 5 has another name for it than 4."""
    logging = getattr(cv2.utils, "logging", cv2)
    logging.setLogLevel(0)


def _complain(error: Exception) -> int:
    _say(f"error: {error}")
    return FAILED


def _say(sentence: str) -> None:
    print(f"vigie-agent predict: {sentence}", file=sys.stderr)  # noqa: T201  # a command's answer
