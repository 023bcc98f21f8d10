"""A loop of `session.run` and nothing else, with the best of its settings."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from agent.decoders import Array
from agent.decoders.reading import beside, picture
from agent.model import Model

_ROUNDS = 5
_ROUND_S = 0.25
_EVERY_COUNT_TO = 4
_QUIET = 3


@dataclass(frozen=True)
class Setting:
    """How a session runs.

    Attributes:
        threads: Of one inference.
        spinning: Whether they wait for each other by spinning.
    """

    threads: int
    spinning: bool


class Bare:
    """A model's session on prepared frames, as fast as it goes.

    Args:
        model: Loaded; only its file, its provider and its inputs count.
        tensors: Prepared frames, run one after the other, again and again.
        settings: To try; None for every sensible one. The best stays.
    """

    def __init__(self, model: Model, tensors: Sequence[Array], settings: Sequence[Setting] | None = None) -> None:
        name, others = picture(model.graph.inputs).name, beside(model.graph.inputs)
        self._feeds = [{name: tensor, **others} for tensor in tensors]
        self._next = 0
        sessions = {setting: _session(model, setting) for setting in settings or _sensible(model.provider)}
        self.tried = self._try(sessions)
        self.setting = max(self.tried, key=lambda setting: self.tried[setting])
        self._session = sessions[self.setting]

    def fps(self, seconds: float) -> float:
        """Run for `seconds`: frames a second."""
        return self._fps(self._session, seconds)

    def _try(self, sessions: dict[Setting, ort.InferenceSession]) -> dict[Setting, float]:
        """Frames a second with each setting, by alternated rounds."""
        seen: dict[Setting, list[float]] = {setting: [] for setting in sessions}
        for session in sessions.values():
            session.run(None, self._feeds[0])
        for _ in range(_ROUNDS if len(sessions) > 1 else 1):
            for setting, session in sessions.items():
                seen[setting].append(self._fps(session, _ROUND_S))
        return {setting: statistics.median(values) for setting, values in seen.items()}

    def _fps(self, session: ort.InferenceSession, seconds: float) -> float:
        done = 0
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds or not done:
            session.run(None, self._feeds[self._next % len(self._feeds)])
            self._next += 1
            done += 1
        return done / passed


def _sensible(provider: str) -> list[Setting]:
    """Every number of threads, or powers of two where there are many cores; spinning or not."""
    cores = len(os.sched_getaffinity(0))
    if provider != "CPUExecutionProvider":
        return [Setting(1, spinning=False)]
    counts = range(1, cores + 1) if cores <= _EVERY_COUNT_TO else sorted({*_powers(cores), cores})
    return [Setting(n, spinning) for n in counts for spinning in (False, True) if n > 1 or not spinning]


def _powers(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count *= 2


def _session(model: Model, setting: Setting) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if setting.spinning else "0")
    providers = list(dict.fromkeys([model.provider, "CPUExecutionProvider"]))
    return ort.InferenceSession(str(Path(model.path)), options, providers=providers)


def prepared(model: Model, frames: Sequence[np.typing.NDArray[np.uint8]]) -> list[Array]:
    """The input tensors of `frames`."""
    looker = model.looker()
    return [looker.prepare(frame)[0].copy() for frame in frames]
