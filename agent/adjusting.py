"""How a picture is prepared: as the family has it, unless the file says otherwise, unless the configuration does.

What a file can say is ONNX's own convention (`docs/MetadataProps.md` there): `Image.BitmapPixelFormat` and
`Image.NominalPixelRange`. Hardly any exporter writes them; where one does, they hold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from agent.decoders import Preparation

GRAPH_DECIDES = {"width", "height", "dtype", "layout"}

FORMATS = {"gray8": "gray", "rgb8": "rgb", "bgr8": "bgr"}
"""`Image.BitmapPixelFormat`: the order of the channels."""

RANGES = {
    "nominalrange_0_255": (0.0, 1.0),
    "normalized_0_1": (0.0, 1 / 255),
    "normalized_1_1": (127.5, 1 / 127.5),
}
"""`Image.NominalPixelRange`: mean and scale. The range 16 to 235 is that of video, which a decoder has widened."""


def adjusted(family: Preparation, metadata: Mapping[str, str], changes: Mapping[str, Any]) -> Preparation:
    """The family's preparation with what the file and then the configuration change.

    Raises:
        ValueError: A key is unknown or one that the graph alone decides, or a value does not fit.
    """
    allowed = sorted({field.name for field in fields(Preparation)} - GRAPH_DECIDES)
    for key in changes:
        if key not in allowed:
            raise ValueError(f"its preparation has no {key!r} to change; it has {', '.join(allowed)}")
    return _changed(replace(family, **said(family, metadata)), changes)


def said(family: Preparation, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the file itself says of its pictures, where that can be so."""
    values = {key.lower(): value.strip().lower() for key, value in metadata.items() if key.lower().startswith("image.")}
    changes: dict[str, Any] = {}
    colour = FORMATS.get(values.get("image.bitmappixelformat", ""))
    if colour is not None and (colour == "gray") == (family.colour == "gray"):
        changes["colour"] = colour
    pixel_range = RANGES.get(values.get("image.nominalpixelrange", ""))
    if pixel_range is not None:
        changes["mean"], changes["scale"] = ((value,) * len(family.mean) for value in pixel_range)
    return changes


def _changed(family: Preparation, changes: Mapping[str, Any]) -> Preparation:
    """`family` with `changes`, each checked.

    Raises:
        ValueError: With the key, its rule and its value.
    """
    checked = dict(changes)
    if "colour" in checked and (checked["colour"] == "gray") != (family.colour == "gray"):
        channels = "one channel" if family.colour == "gray" else "three channels"
        raise ValueError(f"its preparation cannot have 'colour' {checked['colour']!r}: its input has {channels}")
    for key in ("mean", "scale"):
        if key in checked:
            checked[key] = _per_channel(key, checked[key], 1 if family.colour == "gray" else 3)
    if checked.get("resize_to") is not None and checked.get("fit", family.fit) != "crop_center":
        raise ValueError("its preparation has no 'resize_to' unless 'fit' is 'crop_center'")
    if "fit" in checked and checked["fit"] != "crop_center":
        checked["resize_to"] = None
    return replace(family, **checked)


def _per_channel(key: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """One number for each channel.

    Raises:
        ValueError: Their number is wrong, or one of them cannot be.
    """
    numbers = (float(value),) * channels if isinstance(value, int | float) else tuple(map(float, value))
    if len(numbers) != channels:
        raise ValueError(f"its preparation's {key!r} must be one number or {channels}, got {list(numbers)}")
    if not all(map(math.isfinite, numbers)) or (key == "scale" and 0 in numbers):
        rule = "finite and not 0" if key == "scale" else "finite"
        raise ValueError(f"its preparation's {key!r} must be {rule}, got {list(numbers)}")
    return numbers
