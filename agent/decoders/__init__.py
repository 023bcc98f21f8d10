"""Outputs to detections: one protocol, and one file per model family.

Preprocessing is data that the family gives (`Preparation`); what the ONNX file says of itself (`Graph`) chooses the
family. A family that is not sure says so by not claiming the graph: two claims, or none, are refused with a sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

Task = Literal["detect", "classify"]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph, as it is run here: one picture, every dimension known.

    Attributes:
        name: In the graph.
        dtype: As numpy spells it.
        shape: Dynamic dimensions of an input are settled by the model, those of an output by running it once.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """What an ONNX file says of itself.

    Attributes:
        inputs: Without the initializers that old files list among them.
        outputs: In the order of the graph.
        metadata: The file's own key-value pairs.
        sample: What it gave for an input of zeros, one array per output; empty when it was not run. Shapes alone
            cannot tell a pose model from a detector of more classes: values can.
        rescales: Whether a layer in it is called `rescaling`, as Keras calls one that takes grey values as they are.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    sample: tuple[Array, ...] = ()
    rescales: bool = False


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture becomes the input tensor.

    Attributes:
        width: Of the tensor, in pixels.
        height: Of the tensor, in pixels.
        fit: `letterbox_center`, `letterbox_corner` (padding right and below), `stretch`, or `crop_center`
            (shorter side to `resize_to`, then the centre).
        pad: Grey value of the padding, 0 to 255.
        colour: Channel order of the tensor.
        mean: Subtracted per channel of the tensor, in grey values 0 to 255.
        scale: Then multiplied with, per channel.
        dtype: `float32`, `float16` or `uint8`.
        layout: Of the tensor.
        resize_to: Shorter side before the crop in pixels, for `crop_center`.
        smooth: Average over the source pixels that shrinking merges, as PIL does, instead of sampling between four.
    """

    width: int
    height: int
    fit: Literal["letterbox_center", "letterbox_corner", "stretch", "crop_center"] = "letterbox_center"
    pad: int = 114
    colour: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1 / 255, 1 / 255, 1 / 255)
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Literal["nchw", "nhwc"] = "nchw"
    resize_to: int | None = None
    smooth: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a decoder found in one picture, best score first.

    Attributes:
        class_ids: [n] int64.
        scores: [n] float32, in [0, 1].
        boxes: [n, 4] float32, corners x1, y1, x2, y2 in pixels of the original picture, inside it; [0, 4] for a
            classifier.
        areas: [n] float32, pixels of the original picture that each detection's mask covers; None without masks.
        keypoints: [n, k, 3] float32, x and y in pixels of the original picture, inside it, and a score in [0, 1],
            1 where the model gives none; None without keypoints.
    """

    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None

    def take(self, which: NDArray[np.int64]) -> "Found":
        """The detections `which`, [m] indices, in that order."""
        return Found(
            self.class_ids[which],
            self.scores[which],
            self.boxes[which],
            None if self.areas is None else self.areas[which],
            None if self.keypoints is None else self.keypoints[which],
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the picture lies in the input tensor: x_tensor = x_picture * scale_x + left.

    Attributes:
        width: Of the original picture, in pixels.
        height: Of the original picture, in pixels.
        scale_x: Tensor pixels per picture pixel.
        scale_y: Tensor pixels per picture pixel.
        left: Padding, or minus what was cropped, in tensor pixels.
        top: Padding, or minus what was cropped, in tensor pixels.
        x: Where the picture lies in a larger one that it is a region of, in pixels of both.
        y: The same, from the top.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float
    top: float
    x: int = 0
    y: int = 0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts: `score` in [0, 1]; `iou` of the suppression, in [0, 1]; at most `most` detections.

    Attributes:
        score: The least that a detection needs.
        iou: Overlap above which the better detection of a class stays alone.
        most: Detections at most.
        of_class: [n] the score that each class needs, the last being that of all above; None where `score` says it
            all. A decoder may leave this to the model, which looks again.
    """

    score: float = 0.25
    iou: float = 0.45
    most: int = 300
    of_class: NDArray[np.float32] | None = field(default=None, compare=False)


class Decoder(Protocol):
    """One model family, for one graph."""

    family: ClassVar[str]
    """The name in `DECODERS` and in the configuration."""

    task: ClassVar[Task]

    suppresses: bool
    """Whether the decoder runs non-maximum suppression itself; False where the model ends in its own selection."""

    preparation: Preparation

    class_count: int | None
    """How many classes it tells apart; None where nothing in the file says so."""

    @classmethod
    def claim(cls, graph: Graph) -> str | None:
        """Why this graph is of this family, in a few words; None when it is not."""
        ...

    def __init__(self, graph: Graph) -> None:
        """Read what is needed from the graph; raises ValueError with the reason when it does not fit."""
        ...

    def decode(self, outputs: Sequence[Array], placement: Placement, thresholds: Thresholds) -> Found:
        """Outputs of one picture, in the order of `graph.outputs`, to what was found.

        Raises:
            ValueError: The outputs are not finite or not of the expected shape.
        """
        ...


DECODERS = {
    "ultralytics-v5": "agent.decoders.ultralytics:V5",
    "ultralytics-v8": "agent.decoders.ultralytics:V8",
    "ultralytics-end2end": "agent.decoders.ultralytics:EndToEnd",
    "ultralytics-segment": "agent.decoders.ultralytics_segment:Segment",
    "ultralytics-pose": "agent.decoders.ultralytics_pose:Pose",
    "yolox": "agent.decoders.yolox:Yolox",
    "yolox-nms": "agent.decoders.yolox_nms:YoloxNms",
    "freeyolo": "agent.decoders.freeyolo:FreeYolo",
    "rtmdet": "agent.decoders.yolox_nms:RtmDet",
    "yolov6": "agent.decoders.yolov6:Yolov6",
    "yolov7-nms": "agent.decoders.yolov7_nms:Yolov7Nms",
    "yolo-nas": "agent.decoders.yolonas:YoloNas",
    "damo-yolo": "agent.decoders.yolonas:DamoYolo",
    "yolov2-tiny": "agent.decoders.yolov2_tiny:TinyYolov2",
    "yolov3-keras": "agent.decoders.yolov3_keras:Yolov3Keras",
    "yolov4": "agent.decoders.yolov4:Yolov4",
    "yolov4-maps": "agent.decoders.yolov4:Yolov4Maps",
    "nanodet": "agent.decoders.nanodet:NanoDet",
    "fastestdet": "agent.decoders.fastestdet:FastestDet",
    "yolo-fastestv2": "agent.decoders.fastestv2:FastestV2",
    "yunet": "agent.decoders.yunet:YuNet",
    "yunet-2022": "agent.decoders.yunet_2022:YuNet2022",
    "scrfd": "agent.decoders.scrfd:Scrfd",
    "ultraface": "agent.decoders.ultraface:UltraFace",
    "ssd": "agent.decoders.ssd:Ssd",
    "ssd-resnet34": "agent.decoders.ssd_resnet34:SsdResNet34",
    "ssd-softmax": "agent.decoders.ultraface:SsdSoftmax",
    "torchvision": "agent.decoders.torchvision:Torchvision",
    "picodet": "agent.decoders.picodet:PicoDet",
    "ppyoloe": "agent.decoders.paddle:PpYoloe",
    "ppyoloe-plus": "agent.decoders.paddle:PpYoloePlus",
    "detr": "agent.decoders.detr:Detr",
    "detr-ultralytics": "agent.decoders.detr:DetrUltralytics",
    "detr-raw": "agent.decoders.detr:DetrRaw",
    "detr-softmax": "agent.decoders.detr:DetrSoftmax",
    "detr-paddle": "agent.decoders.paddle:DetrPaddle",
    "classifier": "agent.decoders.classifier:Classifier",
}
"""Model families: name in the configuration -> `module:Class`, imported when chosen."""
