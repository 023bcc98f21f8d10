"""Execution providers: what runs a model, by ONNX Runtime's own names and short ones, and where to get each."""

import difflib
from typing import Literal

Optimisation = Literal["all", "extended", "basic", "none"]
"""How much a graph is rewritten when it is loaded."""

SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "armnn": "ArmNNExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "onednn": "DnnlExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "rknpu": "RknpuExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""Short names; ONNX Runtime's own work as well."""

CPU = SHORT["cpu"]
CUDA = SHORT["cuda"]
TENSORRT = SHORT["tensorrt"]
OPENVINO = SHORT["openvino"]
XNNPACK = SHORT["xnnpack"]
DIRECTML = SHORT["directml"]

ELSEWHERE = frozenset({"AzureExecutionProvider"})
"""Not on this machine: never tried unless somebody asks for it."""

_OWN_NAME = "ExecutionProvider"

_WHEELS = {
    CUDA: "onnxruntime-gpu, on a Jetson NVIDIA's build for its JetPack",
    TENSORRT: "onnxruntime-gpu with TensorRT's libraries, on a Jetson NVIDIA's build for its JetPack",
    OPENVINO: "onnxruntime-openvino",
    DIRECTML: "onnxruntime-directml",
    SHORT["migraphx"]: "onnxruntime-migraphx",
    SHORT["qnn"]: "onnxruntime-qnn",
}


def full(name: str) -> str:
    """ONNX Runtime's name of an execution provider.

    Raises:
        ValueError: There is none of this name.
    """
    for own in SHORT.values():
        if name.lower() in {own.lower(), own.removesuffix(_OWN_NAME).lower()}:
            return own
    if name.lower() in SHORT:
        return SHORT[name.lower()]
    if name.endswith(_OWN_NAME) and name != _OWN_NAME:
        return name  # a newer runtime's, which says itself whether it knows it
    near = difflib.get_close_matches(name.lower(), SHORT, n=1)
    hint = f"; did you mean {near[0]!r}? There are" if near else "; there are"
    raise ValueError(f"there is no execution provider {name!r}{hint} {', '.join(SHORT)}")


def short(provider: str) -> str:
    """The short name of ONNX Runtime's `provider`, where there is one."""
    return next((name for name, own in SHORT.items() if own == provider), provider)


def way_to(provider: str) -> str:
    """Where to get a build of the runtime that has `provider`."""
    wheel = _WHEELS.get(provider)
    return f"install {wheel}, in place of onnxruntime" if wheel else "install a build of onnxruntime that has it"
