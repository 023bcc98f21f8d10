"""`vigie-agent bench`: the whole agent against nothing but the runtime, on this device.

Answers go to standard output, everything else to standard error.
"""

import argparse
import json
import logging
import signal
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from agent import config, sources, tuned
from agent.benching import trial
from agent.benching.trial import Result, Wanted
from agent.benching.whole import Broken
from agent.config import Settings, StreamSettings
from agent.decoders import DECODERS
from agent.model import ModelError
from shared import mqtt
from shared.configfile import ConfigError
from shared.mqtt import BrokerSettings

OK, FAILED = 0, 1

PAIRS = 10
SECONDS = 1.5
_STREAM = "bench"
_DIGITS = 3


def add_parser(commands: Any) -> None:  # noqa: ANN401  # argparse has no public name for what add_subparsers gives
    """Add the command to `commands`."""
    parser = commands.add_parser("bench", help="measure the whole agent against nothing but the model's runtime")
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a video, a folder of pictures, or a stream of a configuration: FILE.yaml or FILE.yaml:STREAM",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pairs", type=_count, default=PAIRS, metavar="N", help="alternated rounds (%(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=SECONDS, metavar="S", help="of each side in each round (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=_whole, metavar="N", help="of one inference, 0 for all cores; default: as `run` would"
    )
    parser.add_argument("--looks", type=_whole, metavar="N", help="frames at once, 0 for as many as the cores carry")
    parser.add_argument("--broker", metavar="URL", help="to send to; default: a mosquitto of its own, if there is one")
    parser.add_argument(
        "--decoder",
        choices=sorted(DECODERS),
        metavar="FAMILY",
        help="the model's family, if its file does not say it: %(choices)s",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; exit code."""
    if not args.model.is_file():
        return _complain(f"{args.model}: no such file; give the path of an .onnx file")
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.disable(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGHUP):  # what was begun is ended, and the temporary folder goes
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        wanted = Wanted(_settings(args), args.pairs, args.seconds, _broker(args.broker))
        result = trial.run(wanted)
    except (ModelError, Broken) as error:
        return _complain(str(error))
    finally:
        logging.disable(logging.NOTSET)
    answer = report(result, wanted)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if args.json else text(answer))
    return OK


def report(result: Result, wanted: Wanted) -> dict[str, Any]:
    """Everything that was measured, as `--json` prints it."""
    ratio, (low, high) = result.ratio()
    bare, whole = (statistics.median(result.fps[name]) for name in ("bare", "pipeline"))
    return {
        "model": str(result.model.path),
        "family": result.model.family,
        "provider": result.model.provider,
        "source": _described(wanted.settings.streams[0]),
        "parts": _parts(result),
        "pairs": wanted.pairs,
        "bare_fps": round(bare, _DIGITS),
        "bare_ms": round(1000 / bare, _DIGITS),
        "bare_setting": asdict(result.bare),
        "bare_tried": [{**asdict(setting), "fps": round(fps, _DIGITS)} for setting, fps in result.tried.items()],
        "pipeline_fps": round(whole, _DIGITS),
        "threads": result.facts.threads,
        "looks": result.facts.looks,
        "ratio": round(ratio, _DIGITS),
        "ratio_interval": [round(low, _DIGITS), round(high, _DIGITS)],
        "overhead_ms": round(1000 / whole - 1000 / bare, _DIGITS),
        "stages_ms": result.stages_ms,
        "cpu_ms": {name: round(value, _DIGITS) for name, value in result.cpu_ms.items()},
        "rss_mb": round(result.memory_mb["agent"]["rss"], 1),
        "memory_mb": {
            process: {name: round(value, 1) for name, value in memory.items()}
            for process, memory in result.memory_mb.items()
        },
        "arrived": result.arrived,
    }


def text(answer: dict[str, Any]) -> str:
    """`report` for people."""
    setting = answer["bare_setting"]
    spinning = ", spinning" if setting["spinning"] else ""
    own = f"{answer['threads']} thread(s), {answer['looks']}"
    low, high = answer["ratio_interval"]
    lines = [
        f"model      {answer['model']}: {answer['family']} on {answer['provider']}",
        f"source     {answer['source']}",
        f"measured   {', '.join(answer['parts'])}; {answer['pairs']} alternated rounds",
        f"bare       {answer['bare_fps']:9.1f} frames/s  (the best: {setting['threads']} thread(s){spinning})",
        f"agent      {answer['pipeline_fps']:9.1f} frames/s  ({own} at once)",
        f"ratio      {answer['ratio']:9.3f}           (95 % interval {low:.3f} to {high:.3f})",
        f"overhead   {answer['overhead_ms']:9.2f} ms a frame",
        "stage            p50      p95      p99  ms",
        *(
            f"  {name:<9}" + "".join(f"{value:9.2f}" for value in values.values())
            for name, values in answer["stages_ms"].items()
        ),
        "processor  " + ", ".join(f"{name} {value:.2f} ms a frame" for name, value in answer["cpu_ms"].items()),
        "memory     "
        + ", ".join(
            f"{name} {memory['rss']:.0f} MB RSS, {memory['pss']:.0f} MB PSS"
            for name, memory in answer["memory_mb"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _parts(result: Result) -> list[str]:
    """What took part."""
    parts = ["capture process", "prepare", "infer", "decode", "outbox"]
    if result.has_broker:
        return [*parts, f"uplink to a live broker ({result.arrived} frames arrived)"]
    return [*parts, "no uplink (no mosquitto here, and no --broker)"]


def _described(stream: StreamSettings) -> str:
    return sources.describe(sources.resolve(stream.source, Path()))


def _settings(args: argparse.Namespace) -> Settings:
    """What `run` would be told, for one stream.

    Raises:
        ConfigError: The source's configuration is wrong, or has no such stream.
        Broken: The source is not there.
    """
    settings, stream = _source(args.source)
    # As fast as it can, and now: the plan says otherwise.
    changes: dict[str, object] = {"model": str(args.model.resolve()), "fps": None, "every": None, "between": []}
    if args.decoder:
        changes["decoder"] = args.decoder
    stream = msgspec.structs.replace(stream, **changes)
    general = {name: value for name in ("threads", "looks") if (value := getattr(args, name)) is not None}
    settings = msgspec.structs.replace(settings, streams=[stream], **general)
    return tuned.settled(settings, stream, _configuration(args.source)).settings  # its own file lies elsewhere


def _broker(url: str | None) -> BrokerSettings | None:
    """Raises `Broken` when the URL breaks a rule."""
    if url is None:
        return None
    settings = BrokerSettings(url=url)
    try:
        mqtt.endpoint(settings)
    except ValueError as error:
        raise Broken(f"--broker: {error}") from error
    return settings


def _configuration(named: str) -> Path:
    """The file that SOURCE means, if it is a configuration."""
    return Path(_parted(named)[0])


def _parted(named: str) -> tuple[str, str]:
    """SOURCE as the path of a file or folder, and the name of a stream."""
    path, _, name = named.rpartition(":") if ".yaml:" in named or ".yml:" in named else (named, "", "")
    return path, name


def _source(named: str) -> tuple[Settings, StreamSettings]:
    """The settings that SOURCE means: a configuration's, or the defaults on a file or folder that never ends."""
    path, name = _parted(named)
    if Path(path).suffix in {".yaml", ".yml"}:
        settings = trial.absolute(config.load(Path(path)), Path(path).parent)
        stream = _stream(settings, path, name)
        # A watched folder's pictures would be deleted, moved, or passed over.
        if {"push", "folder"} & stream.source.keys():
            raise Broken(f"stream {stream.name} waits for pictures: give a video or a folder of pictures instead")
        return settings, stream
    if not Path(named).exists():
        raise Broken(f"{named}: no such file; give a video, a folder of pictures, or FILE.yaml:STREAM")
    source: dict[str, object] = {"files": str(Path(named).resolve()), "loop": True}
    return Settings(), StreamSettings(name=_STREAM, source=source, model="")


def _stream(settings: Settings, path: str, name: str) -> StreamSettings:
    names = [stream.name for stream in settings.streams]
    if not name and len(names) == 1:
        return settings.streams[0]
    if name not in names:
        wrong = f"has no stream '{name}'" if name else "has several streams"
        raise ConfigError(f"{path}: {wrong}; say one of {', '.join(f'{path}:{one}' for one in names)}")
    return settings.streams[names.index(name)]


def _complain(problem: str) -> int:
    sys.stderr.write(f"vigie-agent bench: {problem}\n")
    return FAILED


def _count(given: str) -> int:
    count = int(given)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {given}")
    return count


def _whole(given: str) -> int:
    count = int(given)
    if count < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {given}")
    return count


def _seconds(given: str) -> float:
    seconds = float(given)
    if not 0.1 <= seconds <= 60:  # noqa: PLR2004  # a blink, and a patience
        raise argparse.ArgumentTypeError(f"must be from 0.1 to 60, got {given}")
    return seconds
