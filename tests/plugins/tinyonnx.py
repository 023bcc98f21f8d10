"""ONNX files of a few hundred bytes that answer what a test wants, whatever the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


def save(
    path: Path,
    outputs: Mapping[str, NDArray[np.generic]],
    *,
    shape: Shape = (1, 3, 64, 64),
    metadata: Mapping[str, str] | None = None,
    dtype: int = TensorProto.FLOAT,
    inputs: int = 1,
    declared: Mapping[str, Shape] | None = None,
) -> Path:
    """Write a model at `path` that always gives `outputs`.

    Args:
        path: Of the file.
        outputs: Name to array.
        shape: Of the input `images`; a string is a dynamic dimension.
        metadata: Of the file.
        dtype: Of the input.
        inputs: How many inputs of that kind.
        declared: Shapes that the file declares for outputs, where not the arrays' own.
    """
    tensors = [numpy_helper.from_array(np.asarray(values), f"{name}_values") for name, values in outputs.items()]
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_values"], [name]) for name in outputs],
        "tiny",
        [helper.make_tensor_value_info("images" if n == 0 else f"input{n}", dtype, shape) for n in range(inputs)],
        [
            helper.make_tensor_value_info(name, tensor.data_type, (declared or {}).get(name, tensor.dims))
            for name, tensor in zip(outputs, tensors, strict=True)
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


def v8(columns: int = 84, classes: int = 3) -> NDArray[np.float32]:
    """A v8 output for 64x64: one box from (16, 16) to (48, 40), class 1, score 0.9."""
    values = np.zeros((1, 4 + classes, columns), np.float32)
    values[0, :4, 5] = 32, 28, 32, 24
    values[0, 4 + min(1, classes - 1), 5] = 0.9
    return values
