"""How ONNX Runtime runs a model: the one place where its sessions are made.

`Runtime` is what the configuration, a tuning or a command line says; `open_session` makes it true, and says what became
of it. The *requested* provider is the first one asked for; the *effective* one is the first of those that the session
really has. Nodes that it cannot run stay on the CPU, which only `nodes_by_provider` tells: it runs the model once.
"""

import contextlib
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime as ort

from agent import providers
from agent.providers import CPU, Optimisation

LOG_ERRORS_ONLY = 3

_LEVELS: dict[Optimisation, Any] = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

THREADS_OPTION = {providers.OPENVINO: "num_of_threads", providers.XNNPACK: "intra_op_num_threads"}
"""Providers on the CPU that have threads of their own, and their option for how many."""

EXTERNAL_DATA = re.compile(r"(?:External data path[^\"]*\"|No such file or directory \[)([^\"\]]+)")
"""How the runtime says, newer than 1.20 and older, that the file with the weights is not there."""

_REASON_CHARS = 500


class ProviderMissing(Exception):
    """Raised when the provider asked for does not run the model, and none may take its place; says what to do."""


@dataclass(frozen=True)
class Runtime:
    """How a model is run.

    Attributes:
        providers: Execution providers, best first, by short or own names; the CPU is the last resort.
        threads: Of one inference; 0 for as many as the machine has cores.
        spinning: Threads wait for the next layer by burning their core, which is fast where nothing else needs it.
        optimisation: How much the graph is rewritten when it is loaded.
        require_provider: Refuse to run on another provider than the first.
        options: Of providers, by their names.
        engines: Folder for TensorRT's engines, whose first build takes minutes; None to build them at each start.
    """

    providers: tuple[str, ...] = ()
    threads: int = 0
    spinning: bool = False
    optimisation: Optimisation = "all"
    require_provider: bool = False
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    engines: Path | None = None

    @property
    def requested(self) -> str:
        """ONNX Runtime's name of the provider asked for.

        Raises:
            ValueError: There is none of this name.
        """
        return full_name(self.providers[0]) if self.providers else CPU


def open_session(path: Path, runtime: Runtime) -> ort.InferenceSession:
    """A session of the model at `path`, with the providers that this machine has.

    Raises:
        ValueError: The runtime refuses the file, or a provider's name is unknown.
        ProviderMissing: Another provider would run it, and `require_provider` is set.
    """
    ort.set_default_logger_severity(LOG_ERRORS_ONLY)
    usable = _usable(runtime)
    if runtime.require_provider and usable[0] != runtime.requested:
        raise ProviderMissing(_missing(runtime.requested))
    _preload(usable)
    reasons = []
    for names in (usable, [CPU]) if usable != [CPU] else ([CPU],):
        options = session_options(runtime, names[0])
        try:
            # The runtime's own fallback would change the provider in the middle of a run, and print to stdout.
            session = ort.InferenceSession(
                str(path), options, providers=[_with_options(name, runtime) for name in names], enable_fallback=0
            )
        except Exception as error:  # noqa: BLE001  # the runtime's errors have no other base
            reasons.append(load_reason(error))
            continue
        if runtime.require_provider and session.get_providers()[0] != runtime.requested:
            raise ProviderMissing(_unfit(runtime.requested, reasons))
        return session
    raise ValueError(reasons[-1])


def session_options(runtime: Runtime, provider: str) -> ort.SessionOptions:
    """What a session is made with whose first provider is `provider`."""
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.graph_optimization_level = _LEVELS[runtime.optimisation]
    # A provider with threads of its own would share its cores with the runtime's.
    options.intra_op_num_threads = 1 if provider in THREADS_OPTION else runtime.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if runtime.spinning else "0")
    # The CPU's arena is as fast without a plan of one block, which takes 20 MB more for a YOLO of 640 pixels
    # (docs/decisions/0008-speed.md); DirectML refuses to start with one.
    options.enable_mem_pattern = provider not in {CPU, providers.DIRECTML}
    return options


def full_name(name: str) -> str:
    """ONNX Runtime's name of an execution provider that this release of it knows.

    Raises:
        ValueError: There is none of this name.
    """
    found = providers.full(name)
    if found not in providers.SHORT.values() and found not in ort.get_all_providers():
        raise ValueError(f"onnxruntime {ort.__version__} knows no execution provider {name!r}")
    return found


def nodes_by_provider(path: Path, runtime: Runtime, feeds: Mapping[str, Any]) -> dict[str, int]:
    """How many nodes of the optimised graph each provider runs, found by running it once under the profiler.

    A provider that takes the whole graph, or a part of it, as one node counts once for each.

    Raises:
        ValueError: The runtime refuses the file.
    """
    with tempfile.TemporaryDirectory(prefix="vigie-profile-") as folder:
        usable = _usable(runtime)
        options = session_options(runtime, usable[0])
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "run")
        try:
            session = ort.InferenceSession(
                str(path), options, providers=[_with_options(name, runtime) for name in usable], enable_fallback=0
            )
            session.run(None, dict(feeds))
            told = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8", errors="replace"))
        except Exception as error:
            raise ValueError(load_reason(error)) from error
    ran = {
        (event["name"], provider)
        for event in told
        if event.get("cat") == "Node" and (provider := event.get("args", {}).get("provider"))
    }
    return dict(Counter(provider for _, provider in ran).most_common())


def reason(error: Exception) -> str:
    """The runtime's own words, without its codes and on one line."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return " ".join(text.split())[:_REASON_CHARS]


def load_reason(error: Exception) -> str:
    """Why the runtime refused a file, in words that help."""
    text = reason(error)
    if missing := EXTERNAL_DATA.search(text):
        return f"its weights are in a separate file, which is missing: put {Path(missing[1]).name} beside it"
    if "rotobuf parsing failed" in text:
        return "is no ONNX model (it cannot be parsed); copy or download it again"
    if "Could not find an implementation" in text or "Unsupported model IR version" in text or "opset" in text:
        return f"onnxruntime {ort.__version__} cannot run it, a newer one may: {text}"
    return f"the runtime refuses it: {text}"


def _usable(runtime: Runtime) -> list[str]:
    """The providers that were asked for and that this build has, best first; TensorRT leaves the rest to CUDA."""
    wanted = [full_name(name) for name in runtime.providers]
    if providers.TENSORRT in wanted:
        wanted.append(providers.CUDA)
    available = ort.get_available_providers()
    return list(dict.fromkeys([*(name for name in wanted if name in available), CPU]))


def _with_options(name: str, runtime: Runtime) -> str | tuple[str, dict[str, str]]:
    """The provider with what it is given: what follows from the rest, and above it what the configuration says."""
    given: dict[str, str] = {}
    if name in THREADS_OPTION and runtime.threads:
        given[THREADS_OPTION[name]] = str(runtime.threads)
    if name == providers.TENSORRT and runtime.engines is not None:
        runtime.engines.mkdir(parents=True, exist_ok=True)
        given |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(runtime.engines)}
        given |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(runtime.engines)}
    for said, values in runtime.options.items():
        if full_name(said) == name:
            given |= values
    return (name, given) if given else name


def _preload(usable: Sequence[str]) -> None:
    """Find CUDA's libraries where pip put them, on a runtime that can."""
    if providers.CUDA in usable and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):  # it prints, and a command's answers are on standard output
            ort.preload_dlls()


def _missing(provider: str) -> str:
    has = ", ".join(ort.get_available_providers())
    return (
        f"{provider} was asked for, but this onnxruntime {ort.__version__} has only {has}: "
        f"{providers.way_to(provider)}, or do without 'require_provider'"
    )


def _unfit(provider: str, reasons: Sequence[str]) -> str:
    why = f" ({reasons[0]})" if reasons else ""
    return (
        f"{provider} was asked for, and this onnxruntime {ort.__version__} has it, but it does not start on this "
        f"machine{why}: are its driver and libraries installed? Or do without 'require_provider'"
    )
