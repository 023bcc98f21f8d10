"""The ONNX session: what a model is, and running it.

Everything that can be known is read from the file when it is loaded, and checked by running it once on zeros:
a model that loads is one that can be decoded. `Model` may be shared by several streams, since a session may be
run from several threads; each stream takes its own `looker()`, which holds the buffers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from agent.adjusting import adjusted
from agent.classnames import names_for
from agent.counting import by_class_id, counted, with_classes
from agent.decoders import Array, Decoder, Found, Graph, Placement, Port, Task, Thresholds
from agent.decoders.choose import choose
from agent.decoders.reading import IMAGE_SHAPE, beside, from_ultralytics, image_port, image_size, picture, tidy_names
from agent.preparing import Pixels, Preparer
from agent.region import Region, moved, part
from agent.session import ProviderMissing, Runtime, open_session, reason
from shared import failpoints

DETECTOR_SIDE = 640
CLASSIFIER_SIDE = 224
"""Side in pixels of a dynamic input, when neither the file nor the configuration says it."""

YOLOV3_SIDE = 416
"""The same of a YOLOv3 by keras-yolo3, as its definition has it."""

FACES_SIZE = (640, 480)
"""Width and height in pixels of a YuNet with a dynamic input: found by trying sizes against the expected detections,
since its definition leaves the size to whoever runs it."""

FACES_OUTPUT = "cls_8"
"""An output that YuNet alone has."""

FAMILY_NAMES = {"scrfd": ("face",), "ultraface": ("face",), "yunet": ("face",), "yunet-2022": ("face",)}
"""What families that always tell the same call it."""

SIDE_MAX = 8192
"""A longer side is a mistake, and would take gigabytes."""

RESCALING = b"rescaling"
"""In the names of nodes that come from a layer of Keras of that kind."""

MODEL_BYTES_MIN = 64
"""A graph with one node takes more."""

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
"""ONNX Runtime's names of types, as numpy spells them."""


class ModelError(Exception):
    """Raised when a file is no model that can be run here; names the file and the reason."""


class ProviderError(ModelError):
    """Raised when another execution provider than the required one would run it; says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model is called, and what it is.

    Attributes:
        name: From its metadata, else the configuration, else the file's name without ending.
        version: From its metadata, else the configuration, else the first 12 digits of `sha256`.
        sha256: Of the file. Weights in a separate file are not covered.
    """

    name: str
    version: str
    sha256: str


class Model:
    """A model, loaded: its session, its decoder, and what it calls things. `Model.load` makes one.

    Attributes:
        path: The file.
        identity: Name, version, sha256.
        graph: What the file says of itself.
        decoder: Of its family.
        why: Why this family, in a few words.
        preparation: How pictures are prepared.
        thresholds: What counts.
        scores: Class id to the score that it needs instead of `thresholds.score`.
        names: Class names by class id.
        names_source: `metadata`, `configuration`, `family`, `COCO`, `ImageNet` or `numbers`.
        provider: The execution provider that runs it.
        requested_provider: The one that was asked for.
        warnings: What was assumed, or is not as asked for: sentences for whoever set it up.
    """

    def __init__(
        self,
        path: Path,
        session: ort.InferenceSession,
        graph: Graph,
        decoder: Decoder,
        why: str,
        settings: "Settings",
    ) -> None:
        self._session = session
        self._output_names = [port.name for port in graph.outputs]
        self._input_name = picture(graph.inputs).name
        self._beside = beside(graph.inputs)
        self.path = path
        self.graph = graph
        self.decoder = decoder
        self.why = why
        self.thresholds = settings.thresholds
        self.preparation = adjusted(decoder.preparation, graph.metadata, settings.preparation)
        self.identity = _identity(path, graph.metadata, settings)
        self.names, self.names_source, notes = names_for(graph.metadata, settings.names, decoder)
        if self.names_source == "numbers" and decoder.family in FAMILY_NAMES:
            self.names, self.names_source, notes = FAMILY_NAMES[decoder.family], "family", ()
        self.scores = by_class_id(settings.scores, self.names, decoder.class_count)
        self._decoding = self.thresholds
        if self.scores and decoder.task == "detect":
            self._decoding = with_classes(self.thresholds, self.scores)
        self._threads = settings.runtime.threads
        self.provider: str = session.get_providers()[0]
        self.requested_provider = settings.runtime.requested
        self.warnings: tuple[str, ...] = (
            *notes,
            *_size_notes(session, graph, settings),
            *_provider_notes(self.provider, self.requested_provider),
        )

    @classmethod
    def load(  # noqa: PLR0913  # each is a key of the configuration
        cls,
        path: str | Path,
        *,
        decoder: str | None = None,
        names: Sequence[str] | None = None,
        name: str | None = None,
        version: str | None = None,
        size: tuple[int, int] | None = None,
        runtime: Runtime | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        thresholds: Thresholds | None = None,
        preparation: Mapping[str, Any] | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> "Model":
        """Load the model at `path`, find out its family and run it once.

        Args:
            path: The ONNX file.
            decoder: Its family, one of `agent.decoders.DECODERS`; None: found out from the file.
            names: Class names by class id, for a file that has none.
            name: Of the model, for a file that has none.
            version: Of the model, for a file that has none.
            size: Width and height in pixels of an input whose size is dynamic, whatever the file recommends.
            runtime: How it is run; None: on the CPU.
            providers: Instead of the runtime's, such as `cuda`.
            threads: Instead of the runtime's.
            thresholds: What counts.
            preparation: Fields of `Preparation` that differ from the file's and the family's; `mean` and `scale` may be
                one number for all channels.
            scores: What single classes, by name or id, need instead of `thresholds.score`.

        Raises:
            ModelError: It can't be read, run or decoded.
            ProviderError: Another provider would run it than the required one.
        """
        settings = Settings(
            decoder, tuple(names) if names else None, name, version, size, _runtime(runtime, providers, threads),
            thresholds or Thresholds(), dict(preparation or {}), dict(scores or {}),
        )  # fmt: skip  # one argument a line would take nine
        path = Path(path)
        _check_file(path)
        try:
            session = open_session(path, settings.runtime)
            graph = replace(_read_graph(session, settings), rescales=_holds(path, RESCALING))
            chosen, why = choose(graph, decoder)
            return cls(path, session, graph, chosen, why, settings)
        except ProviderMissing as error:
            raise ProviderError(f"{path}: {error}") from error
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from error

    @property
    def name(self) -> str:
        """What it is called."""
        return self.identity.name

    @property
    def version(self) -> str:
        """Which version of it."""
        return self.identity.version

    @property
    def sha256(self) -> str:
        """Of the file, in hex."""
        return self.identity.sha256

    @property
    def task(self) -> Task:
        """`detect` or `classify`."""
        return self.decoder.task

    @property
    def family(self) -> str:
        """The decoder's name in `agent.decoders.DECODERS`."""
        return self.decoder.family

    @property
    def iou(self) -> float | None:
        """IoU threshold of the suppression done here; None when the model does its own, or needs none."""
        return self.thresholds.iou if self.decoder.suppresses else None

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the input tensor, in pixels."""
        return self.preparation.width, self.preparation.height

    @property
    def threads(self) -> int:
        """Threads of one inference; 0 for as many as the machine has cores."""
        return self._threads

    def class_name(self, class_id: int) -> str:
        """The name of class `class_id`; `class_<n>` when it has none."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else f"class_{class_id}"

    def looker(self, region: Region | None = None) -> "Looker":
        """A way to look at one stream's pictures, or at a region of them, with buffers of its own."""
        return Looker(self, region)

    def infer(self, tensor: Array) -> list[Array]:
        """Outputs for one prepared picture. May be called from several threads.

        Raises:
            ModelError: The runtime failed.
        """
        failpoints.reached("before_infer")
        try:
            outputs: list[Array] = self._session.run(self._output_names, {self._input_name: tensor, **self._beside})
        except Exception as error:
            raise ModelError(f"{self.path}: {reason(error)}") from error
        return outputs

    def decode(self, outputs: Sequence[Array], placement: Placement) -> Found:
        """What `outputs` say, in pixels of the picture that lies at `placement`.

        Raises:
            ValueError: They are not finite or not of the expected shape.
        """
        found = self.decoder.decode(outputs, placement, self._decoding)
        return moved(counted(found, self._decoding, self.thresholds.most), placement)


class Looker:
    """One stream's way through a model: prepare, infer, decode. For one thread; the model may be shared."""

    def __init__(self, model: Model, region: Region | None = None) -> None:
        self.model = model
        self._prepare = Preparer(model.preparation)
        self._region = region

    def prepare(self, pixels: Pixels) -> tuple[Array, Placement]:
        """`pixels`, [height, width, 3] BGR, as an input tensor, which the next call overwrites, and where it lies.

        Raises:
            ValueError: `pixels` is no such picture.
        """
        if self._region is None or pixels.ndim != 3:  # noqa: PLR2004  # which is told by whoever prepares it
            return self._prepare(pixels)
        seen, x, y = part(pixels, self._region)
        tensor, placement = self._prepare(seen)
        return tensor, replace(placement, x=x, y=y)

    def infer(self, tensor: Array) -> list[Array]:
        """Outputs for a prepared picture.

        Raises:
            ModelError: The runtime failed.
        """
        return self.model.infer(tensor)

    def decode(self, outputs: Sequence[Array], placement: Placement) -> Found:
        """What the outputs say, in pixels of the picture.

        Raises:
            ValueError: They are not finite or not of the expected shape.
        """
        return self.model.decode(outputs, placement)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about a model; the arguments of `Model.load`."""

    decoder: str | None
    names: tuple[str, ...] | None
    name: str | None
    version: str | None
    size: tuple[int, int] | None
    runtime: Runtime
    thresholds: Thresholds
    preparation: Mapping[str, Any]
    scores: Mapping[str, float]


def read_graph(path: Path, size: tuple[int, int] | None = None) -> Graph:
    """What the file at `path` says of itself, whether or not a family fits.

    Raises:
        ModelError: It can't be read, or run on one picture.
    """
    settings = Settings(None, None, None, None, size, Runtime(), Thresholds(), {}, {})
    _check_file(path)
    try:
        return replace(_read_graph(open_session(path, settings.runtime), settings), rescales=_holds(path, RESCALING))
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _runtime(runtime: Runtime | None, providers: Sequence[str] | None, threads: int | None) -> Runtime:
    runtime = runtime or Runtime()
    return replace(
        runtime,
        providers=runtime.providers if providers is None else tuple(providers),
        threads=runtime.threads if threads is None else threads,
    )


def _check_file(path: Path) -> None:
    """Refuse what can be told without the runtime, whose words for it are of no use to anyone.

    Raises:
        ModelError: With the way out.
    """
    try:
        with path.open("rb") as file:
            start = file.read(MODEL_BYTES_MIN)
        size = path.stat().st_size
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; give the path of an .onnx file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: is a git-LFS pointer, not the model; run `git lfs pull` where it came from")
    if size < MODEL_BYTES_MIN:
        raise ModelError(f"{path}: is no ONNX model: it has only {size} bytes; copy or download it again")


def _read_graph(session: ort.InferenceSession, settings: Settings) -> Graph:
    """What the file says of itself, with every dimension settled by running it once on zeros.

    Raises:
        ValueError: It takes no single picture, or fails.
    """
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    size = _said_size(metadata, settings) or _default_size(session)
    inputs = tuple(_input_port(port, *size) for port in session.get_inputs())
    image = picture(inputs)
    image_port(image)
    zeros = np.zeros(image.shape, dtype=image.dtype)
    try:
        sample = tuple(np.asarray(output) for output in session.run(None, {image.name: zeros, **beside(inputs)}))
    except Exception as error:
        said = next(port.shape for port in session.get_inputs() if port.name == image.name)
        open_size = not all(isinstance(side, int) for side in said[1:])
        hint = "; its size is open, but not every size may fit: try multiples of 32" if open_size else ""
        raise ValueError(f"running it on {list(zeros.shape)} zeros failed: {reason(error)}{hint}") from error
    outputs = tuple(
        Port(port.name, str(values.dtype), values.shape)
        for port, values in zip(session.get_outputs(), sample, strict=True)
    )
    return Graph(inputs, outputs, metadata, sample)


def _said_size(metadata: Mapping[str, str], settings: Settings) -> tuple[int, int] | None:
    """Width and height of a dynamic input: what the configuration says, else the file."""
    return settings.size or image_size(metadata)


def _default_size(session: ort.InferenceSession) -> tuple[int, int]:
    """A classifier has one output with a batch and classes; a detector's has one dimension more, or it has several."""
    outputs = session.get_outputs()
    if len(outputs) == 1 and len(outputs[0].shape) == 2:  # noqa: PLR2004
        return CLASSIFIER_SIDE, CLASSIFIER_SIDE
    if any(port.name == IMAGE_SHAPE for port in session.get_inputs()):
        return YOLOV3_SIDE, YOLOV3_SIDE
    return FACES_SIZE if any(port.name == FACES_OUTPUT for port in outputs) else (DETECTOR_SIDE, DETECTOR_SIDE)


def _size_notes(session: ort.InferenceSession, graph: Graph, settings: Settings) -> tuple[str, ...]:
    """A sentence about an input size that nothing says, or that cannot be as asked for."""
    taken = picture(graph.inputs)
    got = image_port(taken)
    if settings.size and settings.size != (got.width, got.height):
        asked = f"{settings.size[0]}x{settings.size[1]}"
        return (f"its input is {got.width}x{got.height} as the file fixes it; the size {asked} is not used",)
    batch_free = next(port.shape[1:] for port in session.get_inputs() if port.name == taken.name)
    if _said_size(graph.metadata, settings) or all(isinstance(size, int) for size in batch_free):
        return ()
    return (f"the size of its input is dynamic and nothing says which: {got.width}x{got.height} is taken",)


def _input_port(port: ort.NodeArg, width: int, height: int) -> Port:
    """An input with its dynamic dimensions settled: one picture, of `width` by `height` pixels.

    Raises:
        ValueError: It takes several pictures at once, or the size is out of range.
    """
    shape = list(port.shape)
    dtype = DTYPES.get(port.type, port.type)
    if len(shape) != 4:  # noqa: PLR2004  # beside the picture, or none, which `image_port` says
        return Port(port.name, dtype, tuple(size if isinstance(size, int) else 1 for size in shape))
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ValueError(f"it takes {shape[0]} pictures at once; export it with a batch size of 1")
    free = (1, height, width, 3) if shape[3] in (1, 3) else (1, 3, height, width)
    settled = tuple(size if isinstance(size, int) and size > 0 else free[axis] for axis, size in enumerate(shape))
    if max(settled) > SIDE_MAX:
        raise ValueError(f"its input would be {list(settled)}; a side may be {SIDE_MAX} pixels at most")
    return Port(port.name, dtype, settled)


def _identity(path: Path, metadata: Mapping[str, str], settings: Settings) -> Identity:
    """What the file says comes first, but Ultralytics' `version` is the exporter's: it is no version of the model."""
    sha256 = sha256_of(path)
    own = None if from_ultralytics(metadata) else metadata.get("version")
    name, version = tidy_names(
        [
            metadata.get("name") or settings.name or path.stem,
            own or settings.version or sha256[:12],
        ]
    )
    return Identity(name, version, sha256)


def sha256_of(path: Path) -> str:
    """Of the file, in hex; in pieces, since a model may be larger than the memory that is free."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _holds(path: Path, name: bytes) -> bool:
    """Whether `name` stands anywhere in the file; in pieces, as for `sha256_of`."""
    end = b""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if name in end + piece:
                return True
            end = piece[-len(name) :]
    return False


def _provider_notes(provider: str, requested: str) -> tuple[str, ...]:
    """Sentences about what is not as asked for."""
    if provider == requested:
        return ()
    return (f"it runs on {provider}, not on {requested}, which does not work on this machine",)
