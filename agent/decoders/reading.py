"""What decoders read from a graph: its image input, its metadata, its grid of cells.

Everything here comes from a file that someone else made: sizes are limited and nothing is evaluated.
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agent.decoders import Array, Graph, Port

METADATA_CHARS_MAX = 4_000_000
"""ImageNet-21k's names take 0.7 million characters; more is no list of names."""

NAME_CHARS_MAX = 128
"""What a record can carry (`shared.records.ShortText`)."""

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing, what turns the direction of text, and what is no letter at all: half of a
surrogate pair, which no record can carry."""

SCORE_SLACK = 0.05
"""How far a quantised sigmoid may lie outside 0 to 1."""


IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)
"""In grey values, red, green and blue: torchvision's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255."""

PIXEL_MASK = "pixel_mask"
"""Input of a DETR by Transformers, [1, height, width]: 1 where the picture is, 0 where padding is."""

SELECTED_COLUMNS = 6
"""Corners, score and class: as many as a box, objectness and one class take."""

IMAGE_SHAPE = "image_shape"
"""Input of a YOLOv3 by keras-yolo3, [1, 2]: the picture's height and width, from which it derives its padding."""

TENSOR_SIZE = ("im_shape", IMAGE_SHAPE)
"""Inputs that get the height and width of the tensor, as of a picture that fills it."""

IMAGE_RANK = 4
"""Batch, channels, height, width, in either layout."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The one picture that a vision model takes: width and height in pixels, 1 or 3 channels."""

    width: int
    height: int
    channels: Literal[1, 3]
    layout: Literal["nchw", "nhwc"]
    dtype: Literal["float32", "float16", "uint8"]


def image_input(graph: Graph) -> ImageInput:
    """The picture that `graph` takes.

    Raises:
        ValueError: It takes no picture, or more than that.
    """
    return image_port(picture(graph.inputs))


def colour_input(graph: Graph) -> ImageInput:
    """The colour picture that `graph` takes.

    Raises:
        ValueError: It takes none.
    """
    image = image_input(graph)
    if image.channels != 3:  # noqa: PLR2004  # red, green, blue
        raise ValueError("its input has one channel; this family takes colour")
    return image


Three = tuple[float, float, float]


def scaling(
    image: ImageInput, mean: Three = (0.0, 0.0, 0.0), deviation: Three = (255.0, 255.0, 255.0)
) -> tuple[Three, Three]:
    """What to subtract from each channel and then to multiply it with; a uint8 input is taken to scale by itself."""
    if image.dtype == "uint8":
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return mean, (1 / deviation[0], 1 / deviation[1], 1 / deviation[2])


def picture(inputs: Sequence[Port]) -> Port:
    """The input that takes the picture; the others, if any, take what `beside` gives.

    Raises:
        ValueError: There is none, or more than one.
    """
    if len(inputs) == 1:
        return inputs[0]
    pictures = [port for port in inputs if len(port.shape) == IMAGE_RANK]
    others = [port for port in inputs if port not in pictures and port.name != PIXEL_MASK]
    if len(pictures) != 1 or any(port.shape != (1, 2) for port in others):
        names = ", ".join(port.name for port in inputs)
        raise ValueError(f"it has {len(inputs)} inputs ({names}), which no family here has: one picture is expected")
    return pictures[0]


def beside(inputs: Sequence[Port]) -> dict[str, Array]:
    """What the inputs beside the picture get, by name; the same for every picture.

    Such an input is a size or a factor that the graph scales its boxes with. Given ones, whose order cannot be
    mistaken, boxes come out in the unit that the graph works in, and the decoder maps them like any others.
    PaddleDetection's `im_shape` and the `image_shape` of keras-yolo3 are exceptions: the height and width of the tensor
    itself. So is the mask that a DETR by Transformers takes: ones, for a picture without padding.

    Raises:
        ValueError: There is no picture, or an input that is no such pair.
    """
    image = picture(inputs)
    given: dict[str, Array] = {}
    for port in inputs:
        if port is not image:
            taken = image_port(image)
            if port.name == PIXEL_MASK:
                given[port.name] = np.ones(port.shape, dtype=port.dtype)
                continue
            values = (taken.height, taken.width) if port.name in TENSOR_SIZE else (1, 1)
            given[port.name] = np.array([values], dtype=port.dtype)
    return given


def image_port(port: Port) -> ImageInput:
    """`port` as a picture.

    Raises:
        ValueError: It is none.
    """
    shape = port.shape
    if port.dtype not in ("float32", "float16", "uint8"):
        raise ValueError(f"its input {port.name!r} is {port.dtype}; an image is float32, float16 or uint8")
    if len(shape) == 4 and shape[1] in (1, 3):  # noqa: PLR2004  # batch, channels, height, width
        return ImageInput(shape[3], shape[2], 1 if shape[1] == 1 else 3, "nchw", _image_dtype(port.dtype))
    if len(shape) == 4 and shape[3] in (1, 3):  # noqa: PLR2004  # batch, height, width, channels
        return ImageInput(shape[2], shape[1], 1 if shape[3] == 1 else 3, "nhwc", _image_dtype(port.dtype))
    raise ValueError(
        f"its input {port.name!r} has the shape {list(shape)}; an image is [1, channels, height, width] or "
        "[1, height, width, channels] with 1 or 3 channels"
    )


def _image_dtype(name: str) -> Literal["float32", "float16", "uint8"]:
    return "float16" if name == "float16" else "uint8" if name == "uint8" else "float32"


def literal(text: str | None) -> object:
    """`text` as the JSON or Python literal that it spells; the text itself when it is neither; None for None."""
    if text is None or len(text) > METADATA_CHARS_MAX:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            # A class called "a\d" is a matter for its author: Python would warn about the escape.
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return text


def class_names(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """The class names in `metadata["names"]` by class id; None when there are none.

    Ultralytics writes a Python dict of id to name, YOLOv5 a list; JSON writes a dict with string keys.
    """
    value = literal(metadata.get("names"))
    if isinstance(value, Mapping):
        by_id = {_class_id(key): name for key, name in value.items()}
        if None in by_id or sorted(by_id, key=str) != sorted(range(len(value)), key=str):
            return None
        value = [by_id[index] for index in range(len(value))]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return None
    return tidy_names(value)


def tidy_names(names: Iterable[object]) -> tuple[str, ...]:
    """Names that fit in a record and on one line; `class_<n>` for an empty one."""
    tidy = (" ".join(plain(str(name)).split())[:NAME_CHARS_MAX] for name in names)
    return tuple(name or f"class_{index}" for index, name in enumerate(tidy))


def plain(text: str) -> str:
    """`text` from a stranger's file for terminals and records: lines become spaces, what cannot be seen becomes `�`."""
    return _UNSEEN.sub(lambda found: " " if found[0].isspace() else "\ufffd", text)


def _class_id(key: object) -> int | None:
    text = str(key)
    return int(text) if text.isdecimal() else None


def image_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    """Width and height in pixels from `metadata["imgsz"]`, which is a side or [height, width]; None when absent."""
    value = literal(metadata.get("imgsz"))
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list | tuple) or len(sides) != 2:  # noqa: PLR2004  # height and width
        return None
    height, width = sides
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        return None
    return width, height


def says_true(metadata: Mapping[str, str], key: str) -> bool:
    """Whether `metadata[key]` spells true."""
    return metadata.get(key, "").strip().lower() == "true"


def from_ultralytics(metadata: Mapping[str, str]) -> bool:
    """Whether Ultralytics' exporter wrote `metadata` (YOLOv8 and later; YOLOv5's own wrote stride and names only)."""
    return metadata.get("author") == "Ultralytics"


def only_output(graph: Graph, rank: int) -> tuple[int, ...] | None:
    """The shape of the graph's single output when it has `rank` dimensions, for one picture."""
    if len(graph.outputs) != 1 or len(graph.outputs[0].shape) != rank or graph.outputs[0].shape[0] != 1:
        return None
    return graph.outputs[0].shape


def says_nothing(graph: Graph, columns: int) -> bool:
    """Whether six `columns` are all 0 for an empty picture: a selection that is empty, since no grid's sigmoids are."""
    return columns == SELECTED_COLUMNS and bool(graph.sample) and not np.any(graph.sample[0])


def cells(width: int, height: int, strides: Sequence[int]) -> int:
    """How many cells the grids of `strides` have together; a convolution's padding rounds each side up."""
    return sum(-(-width // stride) * -(-height // stride) for stride in strides)


def are_scores(values: Array) -> bool:
    """Whether every value can be a score: finite, and in [0, 1] but for what quantising does."""
    if values.size == 0:
        return True
    low, high = float(np.min(values)), float(np.max(values))
    return bool(low >= -SCORE_SLACK and high <= 1 + SCORE_SLACK)
