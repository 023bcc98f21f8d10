"""A detector that says how grey its picture is: one box, as wide as the picture is bright.

In the layout of an Ultralytics v8 export, so that the agent decodes it as it decodes a user's.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
ANCHORS = 16 + 4 + 1
SCORE = 0.9


def save(path: Path) -> Path:
    """Write the model; two classes, of which the first is always seen."""
    base = np.zeros((1, 6, ANCHORS), np.float32)
    base[0, :, 0] = (SIDE / 2, SIDE / 2, 0, SIDE / 2, SCORE, 0.01)
    slope = np.zeros((1, 6, ANCHORS), np.float32)
    slope[0, 2, 0] = SIDE  # the width
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["brightness"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["brightness", "slope"], ["width"]),
            helper.make_node("Add", ["base", "width"], ["output0"]),
        ],
        "grey",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, ANCHORS])],
        [numpy_helper.from_array(base, "base"), numpy_helper.from_array(slope, "slope")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in {"names": "{0: 'grey', 1: 'other'}", "task": "detect", "version": "2.1"}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


def grey_of(box: list[float], width: int) -> int:
    """The grey that a stored box tells."""
    return round((box[2] - box[0]) / width * 255)
