"""How the command line says that a model is to be loaded: the same options for each command that loads one."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import yaml

from agent import config
from agent.classnames import read_names
from agent.config import PreparationSettings
from agent.decoders import DECODERS, Thresholds
from agent.model import Model
from shared import configfile
from shared.configfile import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model and the options that `load` reads."""
    defaults = Thresholds()
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file")
    parser.add_argument(
        "--score", type=_share, default=defaults.score, metavar="S", help="least score of a detection (%(default)s)"
    )
    parser.add_argument(
        "--score-of",
        type=_score_of,
        action="append",
        default=[],
        metavar="CLASS=S",
        help="the same for one class, by name or id; may come again",
    )
    parser.add_argument(
        "--iou",
        type=_share,
        default=defaults.iou,
        metavar="S",
        help="overlap above which the better detection of a class stays alone; for models without a selection of "
        "their own (%(default)s)",
    )
    parser.add_argument("--names", type=Path, metavar="FILE", help="class names, one a line, if the model has none")
    parser.add_argument(
        "--decoder",
        choices=sorted(DECODERS),
        metavar="FAMILY",
        help="the model's family, if its file does not say it: %(choices)s",
    )
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the model's input, if the file leaves it open")
    parser.add_argument(
        "--prepare",
        type=_preparation,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"prepare pictures otherwise: {', '.join(PreparationSettings.__struct_fields__)}; a list in "
        "brackets, mean=[1,2,3]; may come again",
    )


def load(args: argparse.Namespace) -> Model:
    """The model that the command line names.

    Raises:
        ModelError: It can't be read, run or decoded.
        ValueError: The file with names can't be read.
    """
    return Model.load(
        args.model,
        decoder=args.decoder,
        names=read_names(args.names) if args.names else None,
        size=args.size,
        thresholds=Thresholds(score=args.score, iou=args.iou),
        scores=dict(args.score_of),
        preparation=dict(args.prepare),
    )


def configured(args: argparse.Namespace) -> dict[str, Any]:
    """What the configuration of a stream would say to load the model so."""
    defaults = Thresholds()
    said = {
        "decoder": args.decoder,
        "size": list(args.size) if args.size else None,
        "score": args.score if args.score != defaults.score else None,
        "scores": dict(args.score_of),
        "iou": args.iou if args.iou != defaults.iou else None,
        "preparation": dict(args.prepare),
    }
    return {key: value for key, value in said.items() if value not in (None, {})}


def _share(text: str) -> float:
    """An argument from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def _score_of(text: str) -> tuple[str, float]:
    """A class and its score."""
    name, sign, score = text.rpartition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"must be a class and its score, such as person=0.6, got {text!r}")
    return name, _share(score)


def _size(text: str) -> tuple[int, int]:
    """Width and height."""
    width, _, height = text.lower().partition("x")
    try:
        return msgspec.convert((int(width), int(height)), tuple[config.Side, config.Side])
    except (ValueError, msgspec.ValidationError):
        raise argparse.ArgumentTypeError(f"must be width and height in pixels, such as 640x480, got {text!r}") from None


def _preparation(text: str) -> tuple[str, Any]:
    """A key of the preparation and its value, checked as the configuration's."""
    key, sign, value = text.partition("=")
    try:
        settings = configfile.convert({key: yaml.safe_load(value) if sign else None}, PreparationSettings, "--prepare")
    except (ConfigError, yaml.YAMLError) as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--prepare: ")) from None
    if (checked := getattr(settings, key)) is None:
        raise argparse.ArgumentTypeError(f"must be a key and its value, such as fit=stretch, got {text!r}")
    return key, checked
