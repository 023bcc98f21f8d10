"""What `vigie-agent tune` found out, kept beside the configuration, and what becomes of the keys left open.

Precedence, key by key: the configuration, then a tuning of this model on this machine, then the default. What was
measured together is used together: a tuning that a key of the configuration contradicts is not used at all.
"""

import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import onnxruntime as ort
from msgspec import Meta, Struct

from agent import providers
from agent.config import Settings, StreamSettings
from agent.model import sha256_of
from agent.providers import CPU, Optimisation
from agent.session import Runtime
from agent.vitals import hardware

NAME = "tuned.json"
VERSION = 1

_THREADS = 1
_TEXT_MAX = 200


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """What there is to choose.

    Attributes:
        provider: Execution provider, by its own name.
        threads: Of one inference.
        spinning: Whether they wait by spinning.
        optimisation: Of the graph.
    """

    provider: str = CPU
    threads: Annotated[int, Meta(ge=1, le=256)] = _THREADS
    spinning: bool = False
    optimisation: Optimisation = "all"

    def __str__(self) -> str:
        """For people."""
        spinning = ", spinning" if self.spinning else ""
        level = "" if self.optimisation == "all" else f", optimisation {self.optimisation}"
        return f"{providers.short(self.provider)}, {self.threads} thread(s){spinning}{level}"


class Machine(Struct, frozen=True):
    """What a tuning holds for.

    Attributes:
        processor: Its name.
        cores: That the agent may use.
    """

    processor: str
    cores: int


class Measured(Struct, frozen=True):
    """One candidate in the last, longest rounds.

    Attributes:
        choice: Which.
        fps: Median over rounds.
        ratio: To the fastest, median over rounds.
        interval: Of `ratio`, 95 %.
        rounds: How many.
    """

    choice: Choice
    fps: float
    ratio: float
    interval: tuple[float, float]
    rounds: int


class Entry(Struct, frozen=True):
    """A tuning of one model.

    Attributes:
        model: Name of its file.
        at: When, in UTC.
        machine: Where.
        onnxruntime: Its version.
        providers: That it had.
        source: What the frames came from.
        choice: The outcome.
        measured: Those that were measured to the end.
    """

    model: str
    at: str
    machine: Machine
    onnxruntime: str
    providers: tuple[str, ...]
    source: str
    choice: Choice
    measured: tuple[Measured, ...] = ()


class Kept(Struct, frozen=True):
    """The file: sha256 of a model -> its tuning."""

    version: int = VERSION
    models: dict[str, Entry] = {}  # msgspec copies it


class Unusable(Exception):
    """Raised when the file is there and cannot be read; says why, and what to do."""


@dataclass(frozen=True)
class Settled:
    """Settings without open keys.

    Attributes:
        settings: `providers`, `threads`, `spinning` and `optimisation` are set.
        tuned: When and as what the model was tuned, where that is used; else nothing.
        stale: What changed since a tuning, for whoever looks after the device; else nothing.
    """

    settings: Settings
    tuned: str = ""
    stale: str = ""


def settled(settings: Settings, stream: StreamSettings, path: Path) -> Settled:
    """The settings by which the model of `stream` is run; `path` is the configuration file."""
    if not _is_open(settings):
        return Settled(settings)
    try:
        kept = read(path.parent / NAME)
        entry, stale = _entry(kept, path.parent / Path(stream.model).expanduser())
    except Unusable as error:
        return Settled(_filled(settings, Choice()), stale=str(error))
    if entry is None:
        return Settled(_filled(settings, Choice()), stale=stale)
    if unusable := [*_moved(entry), *_contradictions(entry.choice, settings)]:
        return Settled(_filled(settings, Choice()), stale=_again(unusable, path, used=False))
    changed = list(_newer(entry))
    return Settled(
        _filled(settings, entry.choice),
        tuned=f"{entry.choice}, as tuned {entry.at}",
        stale=_again(changed, path, used=True) if changed else "",
    )


def runtime(settings: Settings, path: Path) -> Runtime:
    """How `settings` say that a model is run; open keys are as without a tuning."""
    chosen = _filled(settings, Choice())
    return Runtime(
        providers=tuple(chosen.providers),
        threads=chosen.threads if chosen.threads is not None else _THREADS,
        spinning=bool(chosen.spinning),
        optimisation=chosen.optimisation or "all",
        require_provider=chosen.require_provider,
        options={
            name: {key: str(value) for key, value in given.items()} for name, given in chosen.provider_options.items()
        },
        engines=path.parent / Path(settings.state_dir).expanduser() / "engines",
    )


def read(path: Path) -> Kept:
    """What is kept at `path`; nothing where there is no file.

    Raises:
        Unusable: It cannot be read.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}): make it readable for this user") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error)[:_TEXT_MAX]
        raise Unusable(f"{path} is damaged ({reason}): delete it, and tune again with vigie-agent tune") from error
    if kept.version != VERSION:
        raise Unusable(f"{path} is of version {kept.version}, this release reads {VERSION}: tune again")
    return kept


def keep(path: Path, sha256: str, entry: Entry) -> None:
    """Write the tuning of a model to `path`, where those of others stay; a damaged file is replaced.

    Raises:
        OSError: It cannot be written.
    """
    try:
        models = read(path).models
    except Unusable:
        models = {}
    data = msgspec.to_builtins(Kept(models={**models, sha256: entry}))
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)  # the service may run as another user than the one who tunes
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def machine(root: Path = Path("/")) -> Machine:
    """This one."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    processor = found[1].strip() if found else hardware(root) or platform.machine()
    return Machine(processor[:_TEXT_MAX], len(os.sched_getaffinity(0)))


def with_choice(settings: Settings, choice: Choice) -> Settings:
    """The settings as a candidate of a tuning has them: its own provider or nobody."""
    return msgspec.structs.replace(
        settings,
        providers=[providers.short(choice.provider), *settings.providers[1:]],
        threads=choice.threads,
        spinning=choice.spinning,
        optimisation=choice.optimisation,
        require_provider=True,
    )


def _is_open(settings: Settings) -> bool:
    return not settings.providers or None in (settings.threads, settings.spinning, settings.optimisation)


def _filled(settings: Settings, choice: Choice) -> Settings:
    """The settings with `choice` where they say nothing."""
    return msgspec.structs.replace(
        settings,
        providers=settings.providers or [providers.short(choice.provider)],
        threads=choice.threads if settings.threads is None else settings.threads,
        spinning=choice.spinning if settings.spinning is None else settings.spinning,
        optimisation=settings.optimisation or choice.optimisation,
    )


def _entry(kept: Kept, model: Path) -> tuple[Entry | None, str]:
    """The tuning of the model, or a sentence about one of a file of its name."""
    if not kept.models:
        return None, ""
    try:
        found = kept.models.get(sha256_of(model))
    except OSError:
        return None, ""  # which loading it will say
    if found is None and any(entry.model == model.name for entry in kept.models.values()):
        return None, f"{model.name} is another file than the one that was tuned; the tuning is not used: tune again"
    return found, ""


def _moved(entry: Entry) -> Iterator[str]:
    """Why a tuning says nothing about this machine."""
    here = machine()
    if here != entry.machine:
        was = entry.machine
        yield f"tuned on {was.cores} core(s) of {was.processor}, this is {here.cores} of {here.processor}"
    if entry.choice.provider not in ort.get_available_providers():
        yield f"tuned with {entry.choice.provider}, which this onnxruntime lacks"


def _contradictions(choice: Choice, settings: Settings) -> Iterator[str]:
    """What the configuration fixes otherwise than it was measured."""
    said: dict[str, tuple[Any, Any]] = {
        "providers": (providers.full(settings.providers[0]) if settings.providers else None, choice.provider),
        "threads": (settings.threads, choice.threads),
        "spinning": (settings.spinning, choice.spinning),
        "optimisation": (settings.optimisation, choice.optimisation),
    }
    for key, (value, measured) in said.items():
        if value is not None and value != measured:
            yield f"tuned with {measured}, the configuration's '{key}' says {value}"


def _newer(entry: Entry) -> Iterator[str]:
    """What changed without making the tuning wrong."""
    if ort.__version__ != entry.onnxruntime:
        yield f"tuned with onnxruntime {entry.onnxruntime}, this is {ort.__version__}"
    if new := sorted(set(ort.get_available_providers()) - set(entry.providers)):
        yield f"since then there is also {', '.join(new)}"


def _again(changed: list[str], path: Path, *, used: bool) -> str:
    use = "used all the same" if used else "not used"
    return f"{'; '.join(changed)}; the tuning is {use}: vigie-agent tune MODEL --config {path} measures again"
