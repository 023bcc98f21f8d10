"""The network: a small convolutional detector without anchor boxes, at strides 8, 16 and 32.

Every point of the three grids answers with a box around it and a score per class. In training the raw answers
go to the loss; the exported network ends in boxes in input pixels and scores between 0 and 1.
"""
# torch is installed for training only, so a type checker may not see it.
# mypy: disallow-subclassing-any=False, disallow-untyped-calls=False, warn-return-any=False

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STRIDES: Final = (8, 16, 32)
BOX_SCALE: Final = 4.0
"""A raw size of 0 means a box of this many strides."""


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and rectifier; the normalisation folds into the convolution for export."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, D, H / stride, W / stride]."""
        return torch.relu(self.norm(self.conv(features)))

    def fold(self) -> None:
        """Move the normalisation's scale and shift into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Residual(nn.Module):
    """Squeeze to half the channels, look around, and add."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNorm(channels, channels // 2, 1), ConvNorm(channels // 2, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Keep the shape [B, C, H, W]."""
        return features + self.body(features)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Look around within each channel, then mix channels: a tenth of a full convolution's work."""
    return nn.Sequential(ConvNorm(inputs, inputs, 3, groups=inputs), ConvNorm(inputs, outputs, 1))


def class_out(width: int, classes: int) -> nn.Conv2d:
    """Score the classes, and expect fruit at one point in a hundred, or the empty ones drown the first steps."""
    out = nn.Conv2d(width, classes, 1)
    if out.bias is not None:
        nn.init.constant_(out.bias, -math.log(99))
    return out


class Network(nn.Module):
    """About 0.4 million parameters and 0.2 billion multiplications per picture of 320 x 320."""

    def __init__(self, classes: int = 3, width: int = 56) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 24, 6, 4), Residual(24))
        self.down8 = nn.Sequential(ConvNorm(24, 48, stride=2), Residual(48), Residual(48))
        self.down16 = nn.Sequential(ConvNorm(48, 96, stride=2), Residual(96), Residual(96))
        self.down32 = nn.Sequential(ConvNorm(96, 128, stride=2), Residual(128))
        self.lateral = nn.ModuleList(ConvNorm(channels, width, 1) for channels in (48, 96, 128))
        self.smooth = nn.ModuleList(separable(width, width) for _ in STRIDES)
        self.box_towers = nn.ModuleList(
            nn.Sequential(separable(width, width), separable(width, width)) for _ in STRIDES
        )
        self.class_towers = nn.ModuleList(
            nn.Sequential(separable(width, width), separable(width, width)) for _ in STRIDES
        )
        self.box_outs = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in STRIDES)
        self.class_outs = nn.ModuleList(class_out(width, classes) for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, 3, S, S] (0 to 1) to raw boxes [B, N, 4] and raw class scores [B, N, classes]."""
        boxes, scores = [], []
        for level, features in enumerate(self._pyramid(images)):
            boxes.append(self.box_outs[level](self.box_towers[level](features)).flatten(2))
            scores.append(self.class_outs[level](self.class_towers[level](features)).flatten(2))
        return torch.cat(boxes, 2).transpose(1, 2), torch.cat(scores, 2).transpose(1, 2)

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Return features at strides 8, 16 and 32, the finer ones told what the coarser ones saw."""
        fine = self.down8(self.stem(images))
        middle = self.down16(fine)
        coarse = self.lateral[2](self.down32(middle))
        middle = self.lateral[1](middle) + nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        middle = self.smooth[1](middle)
        fine = self.lateral[0](fine) + nn.functional.interpolate(middle, scale_factor=2.0, mode="nearest")
        return [self.smooth[0](fine), middle, self.smooth[2](coarse)]


def grid(side_px: int) -> tuple[Tensor, Tensor]:
    """Return the middle of every grid cell [N, 2] and its stride [N, 1], in input pixels, finest grid first."""
    points, strides = [], []
    for stride in STRIDES:
        axis = (torch.arange(side_px // stride) + 0.5) * stride
        down, across = torch.meshgrid(axis, axis, indexing="ij")
        points.append(torch.stack([across, down], -1).reshape(-1, 2))
        strides.append(torch.full((points[-1].shape[0], 1), float(stride)))
    return torch.cat(points), torch.cat(strides)


def place(raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Turn raw boxes [B, N, 4] into cx cy w h in input pixels."""
    centre = points + raw[..., :2] * strides
    size = torch.exp(raw[..., 2:].clamp(-5, 5)) * strides * BOX_SCALE
    return torch.cat([centre, size], -1)


class Exported(nn.Module):
    """The network with folded normalisation and the output that the agent decodes; switch it to `eval` first."""

    points: Tensor
    strides: Tensor

    def __init__(self, network: Network, side_px: int) -> None:
        super().__init__()
        for module in network.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        self.network = network
        points, strides = grid(side_px)
        self.register_buffer("points", points)
        self.register_buffer("strides", strides)

    def forward(self, images: Tensor) -> Tensor:
        """Map [1, 3, S, S] to [1, 4 + classes, N]."""
        raw, scores = self.network(images)
        boxes = place(raw, self.points, self.strides)
        return torch.cat([boxes, torch.sigmoid(scores)], -1).transpose(1, 2)
