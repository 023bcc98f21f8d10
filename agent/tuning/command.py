"""`vigie-agent tune`: what runs a model fastest on this device, measured on the whole pipeline.

Answers go to standard output, everything else to standard error.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime as ort

from agent import check, config, sources, tuned
from agent.benching import trial
from agent.config import Settings, StreamSettings
from agent.model import sha256_of
from agent.providers import CPU
from agent.sources import Resolved
from agent.tuned import Choice, Entry
from agent.tuning import candidates, choosing
from agent.tuning.pipeline import Broken, Frames, Pipeline, Unfit, loaded
from agent.tuning.search import Contender, Found, Plan, Search
from agent.turns import at_once
from shared.configfile import ConfigError

OK, FAILED = 0, 1

SECONDS = 90.0
SECONDS_MOST = 3600.0
SIDE_LEAST, SIDE_MOST = 64, 8192
_DIGITS = 3


def add_parser(commands: Any) -> None:  # noqa: ANN401  # argparse has no public name for what add_subparsers gives
    """Add the command to `commands`."""
    parser = commands.add_parser("tune", help="measure what runs a model fastest on this device, and keep it")
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help="a video or a folder of pictures such as the camera gives; default: generated pictures",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the agent's configuration: its keys count, the outcome lies beside"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=SECONDS, metavar="S", help="of measuring, about (%(default)g)"
    )
    parser.add_argument(
        "--frames", type=_size, default=(1280, 720), metavar="WxH", help="size of the generated pictures (1280x720)"
    )
    parser.add_argument("--exhaustive", action="store_true", help="measure every candidate to the end")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; exit code."""
    if not args.model.is_file():
        return _complain(f"{args.model}: no such file; give the path of an .onnx file")
    if args.source is not None and not args.source.exists():
        return _complain(f"{args.source}: no such file; give a video or a folder of pictures, or none")
    settings, stream = _settings(args)
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.disable(logging.INFO)
    try:
        answer = _answer(args, settings, stream)
    except (Unfit, Broken, OSError) as error:
        return _complain(str(error))
    finally:
        logging.disable(logging.NOTSET)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if args.json else text(answer))
    return OK


def text(answer: dict[str, Any]) -> str:
    """The answer for people."""
    lines = [
        f"model      {answer['model']}",
        f"source     {answer['source']}",
        f"machine    {answer['machine']['cores']} core(s) of {answer['machine']['processor']}",
        f"runtime    onnxruntime {answer['onnxruntime']}: {', '.join(answer['providers'])}",
        "",
        "provider                   threads  spinning  optimisation   frames/s   of the fastest (95 %)",
    ]
    for row in answer["measured"]:
        low, high = row["interval"]
        lines.append(f"{_row(row)}{row['fps']:11.1f}   {row['ratio']:.3f} ({low:.3f} to {high:.3f})")
    lines += [f"{_row(row)}{row['fps']:11.1f}   out after a few rounds" for row in answer["out"]]
    lines += [f"{_row(row)}{'-':>11}   {row['why']}" for row in answer["unfit"]]
    lines += ["", f"chosen     {answer['chosen']}: the simplest that is not significantly slower than the fastest"]
    if answer["noisy"]:
        lines.append("           The machine had much else to do, so the figures say little: tune again when it rests")
    if answer["nodes"]:
        lines.append(f"nodes      {answer['nodes']}")
    where = answer["kept"] or "nowhere: say --config FILE, and `run` with that file will use it"
    return "\n".join([*lines, f"kept       {where}"]) + "\n"


def _row(row: dict[str, Any]) -> str:
    choice = row["choice"]
    spinning = "yes" if choice["spinning"] else "no"
    return f"{choice['provider']:<26}{choice['threads']:8}{spinning:>10}{choice['optimisation']:>14}"


def _answer(args: argparse.Namespace, settings: Settings, stream: StreamSettings) -> dict[str, Any]:
    """Measure, keep, and tell.

    Raises:
        Unfit: The model cannot be run.
        Broken: The source gives no frames.
        OSError: The outcome cannot be written.
    """
    source = sources.resolve(stream.source, Path())
    simplest = candidates.first(settings)[0]
    loaded(simplest, settings, stream)  # what is wrong with the model is said once, and not by each candidate
    found = _search(args, settings, stream, source)
    entry = Entry(
        model=args.model.name,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine=tuned.machine(),
        onnxruntime=ort.__version__,
        providers=tuple(ort.get_available_providers()),
        source=sources.describe(source),
        choice=found.choice,
        measured=tuple(choosing.compared(found.decided)),
    )
    kept = args.config.parent / tuned.NAME if args.config else None
    if kept is not None:
        try:
            tuned.keep(kept, sha256_of(args.model), entry)
        except OSError as error:
            raise OSError(f"{kept} cannot be written ({error.strerror}); chosen was: {found.choice}") from error
    return {
        **msgspec.to_builtins(entry),
        "model": str(args.model),
        "sha256": sha256_of(args.model),
        "chosen": str(found.choice),
        "noisy": choosing.is_noisy(entry.measured),
        "nodes": _nodes(found.choice, settings, stream),
        "out": [
            {"choice": msgspec.to_builtins(choice), "fps": round(fps, _DIGITS)} for choice, fps in found.out.items()
        ],
        "unfit": [{"choice": msgspec.to_builtins(choice), "why": why} for choice, why in found.unfit.items()],
        "kept": str(kept) if kept else None,
    }


def _search(args: argparse.Namespace, settings: Settings, stream: StreamSettings, source: Resolved) -> Found:
    to_try = candidates.first(settings)
    hands = max(at_once(choice.provider, choice.threads, settings.looks) for choice in to_try)
    pipelines: dict[Choice, Pipeline] = {}
    with Frames(source, hands) as frames:

        def enter(choice: Choice) -> Contender:
            pipelines[choice] = Pipeline(choice, settings, stream, frames)
            return pipelines[choice].fps

        def leave(choice: Choice) -> None:
            pipelines.pop(choice, None)

        search = Search(enter, leave, Plan(args.seconds, args.exhaustive), _say)
        return search.run(to_try, lambda choices: candidates.other_levels(choices, settings))


def _nodes(choice: Choice, settings: Settings, stream: StreamSettings) -> str:
    """Where the nodes of the model run; nothing when that is the CPU."""
    if choice.provider == CPU:
        return ""
    model = loaded(choice, settings, stream)
    return check.nodes(tuned.with_choice(settings, choice), model, Path())


def _settings(args: argparse.Namespace) -> tuple[Settings, StreamSettings]:
    """The configuration's keys, and its stream with this model; with the frames to be measured on.

    Raises:
        ConfigError: It is wrong.
    """
    model = args.model.resolve()
    settings, stream = Settings(state_dir=str(Path.cwd() / Settings().state_dir)), None
    if args.config:
        folder = args.config.parent.resolve()
        settings = trial.absolute(config.load(args.config), folder)
        settings = msgspec.structs.replace(settings, state_dir=str(folder / Path(settings.state_dir).expanduser()))
        stream = next((one for one in settings.streams if Path(one.model) == model), None)
        if stream is None:
            _say(f"no stream of {args.config} has the model {model}: it is measured as its file says")
    if stream is None:
        stream = StreamSettings(name="tune", source={}, model=str(model))
    stream = msgspec.structs.replace(stream, source=_source(args))
    try:
        sources.resolve(stream.source, Path())
    except ValueError as error:
        raise ConfigError(f"SOURCE: {error}") from error
    return settings, stream


def _source(args: argparse.Namespace) -> dict[str, object]:
    if args.source is not None:
        return {"files": str(args.source.resolve()), "loop": True}
    width, height = args.frames
    return {"synthetic": "tune", "width": width, "height": height}


def _say(line: str) -> None:
    sys.stderr.write(f"vigie-agent tune: {line}\n")
    sys.stderr.flush()


def _complain(problem: str) -> int:
    _say(problem)
    return FAILED


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= SECONDS_MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {SECONDS_MOST:g}, got {given!r}")
    return seconds


def _size(given: str) -> tuple[int, int]:
    width, _, height = given.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        size = 0, 0
    if not all(SIDE_LEAST <= side <= SIDE_MOST for side in size):
        raise argparse.ArgumentTypeError(f"must be width and height in pixels, such as 1280x720, got {given!r}")
    return size
