"""Train the ripeness detector on rendered pictures, export it, and measure it.

Run it as `python -m examples.ripeness.train`; it needs torch, onnx, onnxruntime, OpenCV and numpy (extra `train`).
All randomness comes from one seed. The pictures are rendered at the start and kept in memory.
"""
# torch is installed for training only, so a type checker may not see it.
# mypy: disallow-subclassing-any=False, disallow-untyped-calls=False, warn-return-any=False
# mypy: disable-error-code="untyped-decorator, call-overload"

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from examples.ripeness.inference import GREY, MODEL_PATH, SIDE_PX, letterbox
from examples.ripeness.network import STRIDES, Exported, Network, grid, place
from examples.ripeness.scenes import CLASS_NAMES, random_params, render
from examples.ripeness.validate import HELD_OUT_PICTURES, REPORT_PATH, report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from examples.ripeness.arrays import Floats, Ints, Pixels, Rng


@dataclass(frozen=True)
class Settings:
    """What a training run depends on."""

    seed: int = 1
    pictures: int = 4000
    epochs: int = 8
    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    average_decay: float = 0.998
    box_weight: float = 5.0
    threads: int = 2


@dataclass(frozen=True)
class Picture:
    """One training picture."""

    pixels: Pixels
    """[320, 320, 3], BGR, letterboxed."""
    boxes: Floats
    """[N, 4], x1 y1 x2 y2 in pixels of the square."""
    classes: Ints
    """[N]."""


@dataclass(frozen=True)
class Batch:
    """Pictures and their boxes, padded to the largest number of boxes G."""

    images: Tensor
    """[B, 3, 320, 320], RGB, 0 to 1."""
    boxes: Tensor
    """[B, G, 4], x1 y1 x2 y2 in input pixels."""
    classes: Tensor
    """[B, G]."""
    real: Tensor
    """[B, G], false where a row is padding."""


# --- pictures --------------------------------------------------------------------------------------------------------

SHAPES: Final = ((320, 240), (320, 240), (320, 240), (320, 320), (320, 180), (240, 320), (640, 480), (640, 480))
"""Widths and heights that training pictures are rendered at. Full camera size costs the most time, so it is rare."""


def training_picture(seed: int) -> Picture:
    """Render one picture and fit it into the square."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    scene = render(random_params(rng, *SHAPES[int(rng.integers(len(SHAPES)))]), seed)
    square, fit = letterbox(_compressed(scene.image, rng))
    boxes = scene.boxes * fit.scale + np.array([fit.left, fit.top] * 2, np.float32)
    return Picture(square, boxes.astype(np.float32), scene.classes)


def _compressed(image: Pixels, rng: Rng) -> Pixels:
    """Give half of the pictures the marks of lossy compression, as cameras and video do."""
    if rng.random() < 0.5:  # noqa: PLR2004
        return image
    quality = int(rng.integers(30, 90))
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def render_all(settings: Settings) -> list[Picture]:
    """Render the training set on as many processes as training has threads."""
    seeds = range(settings.seed * 100_000, settings.seed * 100_000 + settings.pictures)
    with multiprocessing.get_context("spawn").Pool(settings.threads) as pool:
        return pool.map(training_picture, seeds, chunksize=50)


def varied(picture: Picture, rng: Rng) -> Picture:
    """Mirror, move, scale and brighten a picture at random, and keep the boxes of what stays in view."""
    pixels, boxes = picture.pixels, picture.boxes.copy()
    if rng.random() < 0.5:  # noqa: PLR2004
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        boxes[:, [0, 2]] = SIDE_PX - boxes[:, [2, 0]]
    keep = np.ones(len(boxes), bool)
    if rng.random() < 0.7:  # noqa: PLR2004
        scale = float(np.exp(rng.uniform(math.log(0.75), math.log(1.35))))
        shift = rng.uniform(-0.12, 0.12, 2) * SIDE_PX + (1 - scale) * SIDE_PX / 2
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        pixels = np.asarray(cv2.warpAffine(pixels, matrix, (SIDE_PX, SIDE_PX), borderValue=(GREY,) * 3), np.uint8)
        moved = boxes * scale + np.tile(shift, 2)
        boxes = moved.clip(0, SIDE_PX).astype(np.float32)
        keep = _areas(boxes) > 0.4 * _areas(moved)
    lookup = (np.arange(256) * rng.uniform(0.8, 1.2)).clip(0, 255).astype(np.uint8)
    return Picture(np.asarray(cv2.LUT(pixels, lookup), np.uint8), boxes[keep], picture.classes[keep])


def _areas(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return width times height of boxes [N, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batches(pictures: Sequence[Picture], settings: Settings, rng: Rng) -> Iterator[Batch]:
    """Yield the pictures of one epoch in random order."""
    order = rng.permutation(len(pictures))
    for start in range(0, len(order) - settings.batch + 1, settings.batch):
        yield collate([varied(pictures[index], rng) for index in order[start : start + settings.batch]])


def collate(pictures: Sequence[Picture]) -> Batch:
    """Stack pictures and pad their boxes."""
    most = max(1, *(len(picture.boxes) for picture in pictures))
    boxes = torch.zeros(len(pictures), most, 4)
    classes = torch.zeros(len(pictures), most, dtype=torch.int64)
    real = torch.zeros(len(pictures), most, dtype=torch.bool)
    for row, picture in enumerate(pictures):
        count = len(picture.boxes)
        boxes[row, :count] = torch.from_numpy(picture.boxes)
        classes[row, :count] = torch.from_numpy(picture.classes)
        real[row, :count] = True
    stacked = np.stack([picture.pixels for picture in pictures])
    images = torch.from_numpy(stacked).permute(0, 3, 1, 2).flip(1).float().div_(255)
    return Batch(images.contiguous(memory_format=torch.channels_last), boxes, classes, real)


# --- which grid point answers for which fruit ------------------------------------------------------------------------

CANDIDATES: Final = 9
"""Grid points that may answer for one fruit."""
REACH_MIN_PX: Final = 12.0
"""A fruit smaller than this is treated as this large when grid points inside it are sought."""


@dataclass(frozen=True)
class Targets:
    """What the grid points should have said."""

    boxes: Tensor
    """[B, N, 4], x1 y1 x2 y2; meaningless where no fruit was given."""
    scores: Tensor
    """[B, N, classes], 0 to 1."""


@torch.no_grad()
def assign(boxes: Tensor, scores: Tensor, points: Tensor, batch: Batch) -> Targets:
    """Give each fruit the points that lie in it and answer best: a good box and a sure, right class together.

    Args:
        boxes: [B, N, 4], what the points answered, x1 y1 x2 y2.
        scores: [B, N, classes], 0 to 1.
        points: [N, 2].
        batch: The truth.
    """
    overlaps = iou(batch.boxes[:, :, None], boxes[:, None]).clamp(min=0)
    index = batch.classes[:, :, None].expand(-1, -1, scores.shape[1])
    sureness = scores.transpose(1, 2).gather(1, index)
    fitness = sureness.sqrt() * overlaps**4
    fitness = torch.where(_inside(points, batch), fitness + 1e-9, torch.zeros(()))
    best, places = fitness.topk(CANDIDATES, dim=2)
    chosen = torch.zeros_like(fitness).scatter_(2, places, best)
    # A point between two fruit answers for the one it fits better.
    chosen = torch.where(chosen == chosen.max(dim=1, keepdim=True).values, chosen, torch.zeros(()))
    taken = chosen > 0
    # The best point of a fruit is asked for a score equal to its overlap, the others for less.
    reach = torch.where(taken, overlaps, torch.zeros(())).amax(2, keepdim=True)
    wanted = chosen / chosen.amax(2, keepdim=True).clamp(min=1e-12) * reach
    weight, owner = torch.where(taken, wanted, torch.zeros(())).max(dim=1)
    target_boxes = batch.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    one_hot = nn.functional.one_hot(batch.classes.gather(1, owner), scores.shape[2])
    return Targets(target_boxes, one_hot * weight[..., None])


def _inside(points: Tensor, batch: Batch) -> Tensor:
    """Say which points [N, 2] lie in which real box; [B, G, N]."""
    centre = (batch.boxes[..., :2] + batch.boxes[..., 2:]) / 2
    half = ((batch.boxes[..., 2:] - batch.boxes[..., :2]) / 2).clamp(min=REACH_MIN_PX / 2)
    near = (points - centre[:, :, None]).abs() < half[:, :, None]
    return near.all(-1) & batch.real[..., None]


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the overlap of boxes [..., 4] that broadcast against each other."""
    both = _extent(torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:]))
    areas = _extent(first[..., :2], first[..., 2:]) + _extent(second[..., :2], second[..., 2:])
    return both / (areas - both).clamp(min=1e-6)


def _extent(low: Tensor, high: Tensor) -> Tensor:
    """Return the area between two corners, 0 where they are the wrong way round."""
    return (high - low).clamp(min=0).prod(-1)


def box_loss(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Return 1 - overlap, plus the distance of the centres over the diagonal of the common hull; [...]."""
    hull = torch.maximum(boxes[..., 2:], wanted[..., 2:]) - torch.minimum(boxes[..., :2], wanted[..., :2])
    apart = (boxes[..., :2] + boxes[..., 2:] - wanted[..., :2] - wanted[..., 2:]) / 2
    return 1 - iou(boxes, wanted) + apart.square().sum(-1) / hull.square().sum(-1).clamp(min=1e-6)


class Loss(nn.Module):
    """Binary cross-entropy against soft scores, plus the box loss weighted by them."""

    def __init__(self, box_weight: float) -> None:
        super().__init__()
        self.box_weight = box_weight
        self.points, self.strides = grid(SIDE_PX)

    def forward(self, raw: Tensor, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of raw boxes [B, N, 4] and raw scores [B, N, classes]."""
        placed = place(raw, self.points, self.strides)
        half = placed[..., 2:] / 2
        boxes = torch.cat([placed[..., :2] - half, placed[..., :2] + half], -1)
        targets = assign(boxes.detach(), logits.detach().sigmoid(), self.points, batch)
        weight = targets.scores.sum(-1)
        total = weight.sum().clamp(min=1)
        scores = nn.functional.binary_cross_entropy_with_logits(logits, targets.scores, reduction="sum")
        seen = weight > 0
        place_loss = (box_loss(boxes[seen], targets.boxes[seen]) * weight[seen]).sum()
        return (scores + self.box_weight * place_loss) / total


# --- training --------------------------------------------------------------------------------------------------------


def train(settings: Settings, pictures: Sequence[Picture]) -> Network:
    """Return the running average of the network's weights after all epochs."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = Network(len(CLASS_NAMES)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    loss_of = Loss(settings.box_weight)
    optimizer = torch.optim.AdamW(_groups(network, settings), lr=settings.learning_rate)
    steps = settings.epochs * (len(pictures) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, settings.warmup_steps))
    step = 0
    for epoch in range(settings.epochs):
        start, losses = time.monotonic(), []
        for batch in batches(pictures, settings, rng):
            loss = loss_of(*network(batch.images), batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            schedule.step()
            step += 1
            _follow(average, network, min(settings.average_decay, step / (step + 10)))
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.monotonic() - start:.0f} s", flush=True)
    return average.eval()


def _groups(network: Network, settings: Settings) -> list[dict[str, object]]:
    """Decay the weights of convolutions, not biases and normalisation."""
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim == 1]
    return [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _rate(step: int, steps: int, warmup: int) -> float:
    """Rise linearly, then fall along a cosine to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@torch.no_grad()
def _follow(average: Network, network: Network, decay: float) -> None:
    """Move the average a little towards the network, normalisation statistics included."""
    for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(new, 1 - decay)


# --- export ----------------------------------------------------------------------------------------------------------


def export(network: Network, path: Path) -> None:
    """Write the network as ONNX with the metadata that an agent reads."""
    model = Exported(network.eval().to(memory_format=torch.contiguous_format), SIDE_PX)
    example = torch.zeros(1, 3, SIDE_PX, SIDE_PX)
    torch.onnx.export(
        model,
        (example,),
        str(path),
        input_names=["images"],
        output_names=["output0"],
        opset_version=OPSET,
        # The newer exporter starts at opset 18, which older runtimes on devices may not read.
        dynamo=False,
    )
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, metadata())
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


OPSET: Final = 13


def metadata() -> dict[str, str]:
    """Return what the file says about itself."""
    return {
        "name": "ripeness",
        "version": "1.0.0",
        "task": "detect",
        "names": str(dict(enumerate(CLASS_NAMES))),
        "imgsz": str([SIDE_PX, SIDE_PX]),
        "stride": str(max(STRIDES)),
        "author": "Vigie",
        "license": "Apache-2.0",
        "description": "Finds tomato-like fruit on the vine and tells three ripening stages apart. "
        "Trained on rendered greenhouse scenes only.",
    }


def main() -> None:
    """Render, train, export, measure and write the report."""
    arguments = argparse.ArgumentParser(description="Train the ripeness detector.")
    for name, value in asdict(Settings()).items():
        arguments.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    settings = Settings(**vars(arguments.parse_args()))
    torch.set_num_threads(settings.threads)
    start = time.monotonic()
    pictures = render_all(settings)
    rendered_s = time.monotonic() - start
    print(f"rendered {len(pictures)} pictures in {rendered_s:.0f} s", flush=True)
    network = train(settings, pictures)
    parameters = sum(weight.numel() for weight in network.parameters())
    export(network, MODEL_PATH)
    training = {
        "settings": asdict(settings),
        "parameters": parameters,
        "duration_s": round(time.monotonic() - start),
        "rendering_s": round(rendered_s),
        "versions": {"torch": torch.__version__, "onnx": onnx.__version__, "opencv": cv2.__version__},
    }
    result = report(HELD_OUT_PICTURES, training)
    REPORT_PATH.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["held_out"], indent=2))


if __name__ == "__main__":
    main()
