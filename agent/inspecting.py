"""`vigie-agent inspect`: what a model's file says, what was recognised in it, and why.

A file that is refused is described as far as the runtime can load it; the exit code is then 1.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import yaml

from agent import loading
from agent.decoders import Graph, Preparation
from agent.decoders.choose import weigh
from agent.decoders.reading import from_ultralytics, plain
from agent.model import DTYPES, Model, ModelError, read_graph
from agent.onnxheader import versions
from agent.session import LOG_ERRORS_ONLY

OK, FAILED = 0, 1

METADATA_CHARS = 300
"""Shown of each value in the metadata."""

NAMES_SHOWN = 8
LABEL_WIDTH = 14

Report = dict[str, Any]
"""What `--json` prints."""


def add_parser(commands: Any) -> None:  # noqa: ANN401  # argparse has no public name for what add_subparsers gives
    """Add the command to `commands`."""
    parser = commands.add_parser("inspect", help="say what a model is taken for, and why")
    loading.add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what the command line says; exit code."""
    report = inspect(args)
    text = json.dumps(report, indent=2) if args.json else readable(report)
    sys.stdout.write(f"{text}\n")
    return FAILED if report["refused"] else OK


def inspect(args: argparse.Namespace) -> Report:
    """All that can be told of the model that the command line names."""
    report: Report = {"path": str(args.model), "refused": None, **_file(args.model)}
    graph: Graph | None = None
    try:
        model = loading.load(args)
    except (ModelError, ValueError) as error:
        report["refused"] = str(error)
        graph = _graph(args)
    else:
        graph = model.graph
        report |= _recognised(model) | {"configuration": _configuration(model, args)}
    if graph is not None:
        report["candidates"] = [
            {"family": found.family, "claim": found.claim, "refusal": found.refusal} for found in weigh(graph)
        ]
    report["providers"] = {"available": ort.get_available_providers(), **report.get("providers", {})}
    return report


def _graph(args: argparse.Namespace) -> Graph | None:
    """The graph of a refused model, when it can be run at all."""
    try:
        return read_graph(args.model, args.size)
    except ModelError:
        return None


def _file(path: Path) -> Report:
    """What the file is, as far as it can be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            size = file.tell()
    except OSError:
        return {"file": None}
    ir_version, opsets = versions(path)
    told: Report = {
        "bytes": size,
        "sha256": digest.hexdigest(),
        "ir_version": ir_version,
        "opsets": {domain or "ai.onnx": version for domain, version in opsets.items()},
    }
    return {"file": told, **_session(path)}


def _session(path: Path) -> Report:
    """What the runtime says of the file, as declared: a dimension may be a name, or nothing."""
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001  # the runtime's errors have no other base; why it refuses is told elsewhere
        return {}
    try:
        return _declared(session)
    except UnicodeDecodeError as error:  # names in it are no text
        return {"description": f"cannot be told: {error}"}


def _declared(session: ort.InferenceSession) -> Report:
    """What a session says of its file.

    Raises:
        UnicodeDecodeError: The file's text is not UTF-8.
    """
    meta = session.get_modelmeta()
    return {
        "producer": " ".join(filter(None, (meta.producer_name, _producer_version(meta)))),
        "graph_name": meta.graph_name,
        "description": meta.description[:METADATA_CHARS],
        "inputs": [_port(port) for port in session.get_inputs()],
        "outputs": [_port(port) for port in session.get_outputs()],
        "metadata": {key: value[:METADATA_CHARS] for key, value in meta.custom_metadata_map.items()},
    }


def _producer_version(meta: Any) -> str:  # noqa: ANN401  # the runtime's class has no public name
    """Of the exporter; some runtimes do not tell it."""
    return str(getattr(meta, "producer_version", "") or "")


def _port(port: ort.NodeArg) -> Report:
    return {"name": port.name, "shape": list(port.shape), "dtype": DTYPES.get(port.type, port.type)}


def _recognised(model: Model) -> Report:
    """What the model was taken for."""
    return {
        "task": model.task,
        "family": model.family,
        "why": model.why,
        "outputs_run": [
            {"name": port.name, "shape": list(port.shape), "dtype": port.dtype} for port in model.graph.outputs
        ],
        "preparation": _preparation(model.preparation),
        "names": list(model.names),
        "names_source": model.names_source,
        "thresholds": {
            "score": model.thresholds.score,
            "scores": {model.class_name(class_id): score for class_id, score in model.scores.items()},
            "iou": model.iou,
            "most": model.thresholds.most,
        },
        "name": model.name,
        "version": model.version,
        "version_source": _version_source(model),
        "providers": {"requested": model.requested_provider, "effective": model.provider},
        "warnings": list(model.warnings),
    }


def _preparation(prepared: Preparation) -> Report:
    return {field: getattr(prepared, field) for field in prepared.__dataclass_fields__}


def _version_source(model: Model) -> str:
    own = model.graph.metadata.get("version")
    return "metadata" if own and not from_ultralytics(model.graph.metadata) else "sha256"


def _configuration(model: Model, args: argparse.Namespace) -> Report:
    """What a stream's entry needs so that the model is loaded so, and what is worth adding."""
    keys: Report = {"model": str(args.model), **loading.configured(args)}
    if args.names:
        keys["names"] = list(model.names)
    worth: list[str] = []
    if any("size of its input is dynamic" in warning for warning in model.warnings):
        worth.append("size: nothing says which")
    if _version_source(model) == "sha256":
        worth.append("model_version: the file says none")
    if model.names_source not in ("metadata", "configuration", "family"):
        worth.append(f"names: the file has none ({_assumed(model)})")
    return {"keys": keys, "worth_adding": worth}


def _assumed(model: Model) -> str:
    return "numbers are told" if model.names_source == "numbers" else f"{model.names_source}'s are assumed"


def readable(report: Report) -> str:
    """A report for people."""
    lines = [report["path"]]
    lines += [f"  {label:<{LABEL_WIDTH}}{text}" for label, text in _rows(report)]
    return "\n".join(plain(line) for line in lines)


def _rows(report: Report) -> list[tuple[str, str]]:
    """Labels and their texts, in the order in which one asks."""
    rows: list[tuple[str, str]] = []
    if report["refused"]:
        rows.append(("refused", report["refused"]))
    rows += _file_rows(report)
    if "family" in report:
        rows.append(("recognised", f"{report['task']}, {report['family']}: {report['why']}"))
    rows += _candidate_rows(report)
    if "family" in report:
        rows += _model_rows(report)
    return rows


def _file_rows(report: Report) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if file := report["file"]:
        rows.append(("file", f"{file['bytes']:,} bytes, sha256 {file['sha256']}"))
        opsets = [
            f"opset {version}" if name == "ai.onnx" else f"{name} {version}" for name, version in file["opsets"].items()
        ]
        ir_version = [f"IR {file['ir_version']}"] if file["ir_version"] else []
        made = [word for word in (report.get("producer"), report.get("graph_name"), *opsets, *ir_version) if word]
        rows.append(("made by", ", ".join(made) or "nothing says"))
    for kind in ("input", "output"):
        rows += [
            (kind, f"{port['name']} {_shape(port['shape'])} {port['dtype']}") for port in report.get(f"{kind}s", [])
        ]
    rows += [("metadata", f"{key}: {' '.join(value.split())}") for key, value in report.get("metadata", {}).items()]
    return rows


def _shape(shape: list[int | str | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _candidate_rows(report: Report) -> list[tuple[str, str]]:
    """Families that claim it, or that it can be when it is named so; the others say nothing worth a line."""
    others = [found for found in report.get("candidates", []) if found["family"] != report.get("family")]
    rows = [
        ("not", f"{found['family']}: {_claim(found)}") for found in others if not found["refusal"] or found["claim"]
    ]
    if impossible := [found["family"] for found in others if found["refusal"] and not found["claim"]]:
        rows.append(("cannot be", ", ".join(impossible)))
    return rows


def _claim(found: Report) -> str:
    return f"claims it, too: {found['claim']}" if found["claim"] else "only if named as decoder"


def _model_rows(report: Report) -> list[tuple[str, str]]:
    limits, runs = report["thresholds"], report["providers"]
    names = ", ".join(report["names"][:NAMES_SHOWN]) + (", …" if len(report["names"]) > NAMES_SHOWN else "")
    scores = "".join(f", {name} {score}" for name, score in limits["scores"].items())
    suppression = "its own selection" if limits["iou"] is None else f"iou {limits['iou']}"
    if report["task"] == "classify":
        suppression = "the best classes are told"
    rows = [
        ("preparation", _prepared(report["preparation"])),
        ("classes", f"{len(report['names'])} from {report['names_source']}: {names}"),
        ("thresholds", f"score {limits['score']}{scores}; {suppression}; at most {limits['most']}"),
        ("called", f"{report['name']} {report['version']} (version from {report['version_source']})"),
        ("runs on", f"{runs['effective']}; this build has {', '.join(runs['available'])}"),
    ]
    rows += [("warning", warning) for warning in report["warnings"]]
    keys = report["configuration"]["keys"]
    flow = yaml.safe_dump(keys, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False).strip()
    rows.append(("in the configuration:", f" {flow}"))
    rows += [("worth adding", hint) for hint in report["configuration"]["worth_adding"]]
    return rows


def _prepared(prepared: Report) -> str:
    """The preparation in a few words: `640x640, letterbox_center on grey 114, rgb, float32 nchw, (grey - 0) / 255`."""
    fit = prepared["fit"]
    if fit.startswith("letterbox"):
        fit += f" on grey {prepared['pad']}"
    if prepared["resize_to"]:
        fit += f" of the shorter side at {prepared['resize_to']}"
    smooth = ", averaging" if prepared["smooth"] else ""
    return (
        f"{prepared['width']}x{prepared['height']}, {fit}{smooth}, {prepared['colour']}, {prepared['dtype']} "
        f"{prepared['layout']}, mean {_numbers(prepared['mean'])}, scale {_numbers(prepared['scale'])}"
    )


def _numbers(values: tuple[float, ...]) -> str:
    """One number where all are the same; small ones as 1/x."""
    shown = [f"1/{1 / value:g}" if 0 < value < 1 else f"{value:g}" for value in dict.fromkeys(values)]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
