"""A small S2A-Net in plain PyTorch, with the parts, names and outputs of MMRotate's S2A-Net at 1/20 of its size.

`backbone` and `neck` give five levels (strides 8 to 128). `bbox_head_init` predicts one rotated box for each cell.
`bbox_head_refine` (a ModuleList, as in MMRotate) samples the features again at nine points of that box, so that they
are aligned with the object, and corrects the box and the class.

Source: Han et al., Align Deep Features for Oriented Object Detection, TGRS 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the name every PyTorch user knows)

from featscope.arrays.boxes import rotated_iou
from featscope.demo.scenes import CLASSES

STRIDES = (8, 16, 32, 64, 128)
ANCHOR_SCALE = 4  # side of a cell's square anchor, in strides
SIZE_LIMITS = (28, 48, 80, 160)  # square root of a box's area in pixels: training assigns those up to the first to P3
INPUT_SIZE = 512
MOST_PAIRS, OVERLAP = 600, 0.2  # of suppression
WEIGHTS = Path(__file__).with_name("s2anet_mini.safetensors")


@dataclass(frozen=True)
class Detections:
    """The objects that were detected in one image, best first."""

    boxes: NDArray[np.float32]
    """(n, 5): cx, cy, w, h in pixels, and the angle in radians."""

    scores: NDArray[np.float32]
    """(n,)."""

    labels: NDArray[np.int64]
    """(n,): indices into `featscope.demo.scenes.CLASSES`."""


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions, with in-place ReLUs as in other ResNets."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNetMini(nn.Module):
    """Backbone of four stages with strides 4 to 32."""

    channels = (24, 48, 80, 112)

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3, c4 = self.channels
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(Block(16, c1, 2))
        self.layer2 = nn.Sequential(Block(c1, c2, 2), Block(c2, c2))
        self.layer3 = nn.Sequential(Block(c2, c3, 2), Block(c3, c3))
        self.layer4 = nn.Sequential(Block(c3, c4, 2))

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """(N, 3, H, W) -> the outputs of the four stages."""
        outs = []
        x = self.stem(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            outs.append(x)
        return tuple(outs)


class FPN(nn.Module):
    """Feature pyramid of the last three stages and two further levels."""

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in inputs)
        self.fpn_convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1) for _ in inputs)
        self.extra_convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(2))

    def forward(self, stages: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Stages with strides 4 to 32 -> five levels with strides 8 to 128, with the same number of channels."""
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, stages[1:])]
        for i in range(len(laterals) - 1, 0, -1):
            laterals[i - 1] += F.interpolate(laterals[i], size=laterals[i - 1].shape[-2:])
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals)]
        for conv in self.extra_convs:
            outs.append(conv(F.relu(outs[-1])))
        return tuple(outs)


def _tower(channels: int) -> nn.Sequential:
    layers: List[nn.Module] = []
    for _ in range(2):
        conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        layers += [conv, nn.GroupNorm(8, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class S2AHead(nn.Module):
    """Predicts one rotated box and its class scores for every cell of every level.

    A box has six numbers: dx, dy, dw, dh relative to the cell's square anchor, and the cosine and sine of twice its
    angle. The angle itself is not used, because it jumps: a rectangle that is rotated by pi is the same rectangle.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.cls_convs, self.reg_convs = _tower(channels), _tower(channels)
        self.retina_cls = nn.Conv2d(channels, classes, 3, 1, 1)
        self.retina_reg = nn.Conv2d(channels, 6, 3, 1, 1)
        nn.init.constant_(self.retina_cls.bias, -math.log(99))  # type: ignore[arg-type]

    def forward(self, feats: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Levels -> scores (N, classes, h, w) and box deltas (N, 6, h, w) of each level."""
        cls_scores = [self.retina_cls(self.cls_convs(x)) for x in feats]
        bbox_preds = [self.retina_reg(self.reg_convs(x)) for x in feats]
        return cls_scores, bbox_preds

    def boxes(self, bbox_preds: Sequence[Tensor]) -> List[Tensor]:
        """Box deltas (N, 6, h, w) -> rotated boxes (N, 5, h, w) in pixels of the input, for each level."""
        return [_decode_cells(deltas, stride) for deltas, stride in zip(bbox_preds, STRIDES)]


def cell_centres(height: int, width: int, stride: int) -> Tensor:
    """Return the centres of a level's cells, (2, h, w) as x, y in pixels of the input."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y]) + 0.5) * stride


def _decode_cells(deltas: Tensor, stride: int) -> Tensor:
    side = ANCHOR_SCALE * stride
    centre = cell_centres(deltas.shape[-2], deltas.shape[-1], stride).to(deltas) + deltas[:, :2] * side
    size = side * deltas[:, 2:4].clamp(-3, 3).exp()
    angle = torch.atan2(deltas[:, 5:6], deltas[:, 4:5]) / 2
    return torch.cat([centre, size, angle], 1)


def refine_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move rotated boxes by deltas in the frame of each box: (..., 5, h, w) each."""
    x, y, w, h, angle = boxes.unbind(-3)
    dx, dy, dw, dh, turn = deltas.unbind(-3)
    cos, sin = angle.cos(), angle.sin()
    x, y = x + dx * w * cos - dy * h * sin, y + dx * w * sin + dy * h * cos
    w, h = w * dw.clamp(-3, 3).exp(), h * dh.clamp(-3, 3).exp()
    return torch.stack([x, y, w, h, angle + turn], -3)


class AlignConv(nn.Module):
    """A 3 x 3 convolution that samples nine points of the cell's box instead of the neighbouring cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels * 9, channels, 1)

    def forward(self, feats: Sequence[Tensor], boxes: Sequence[Tensor]) -> List[Tensor]:
        """Levels (N, C, h, w) and their boxes (N, 5, h, w) -> aligned levels (N, C, h, w)."""
        return [F.relu(self.project(self.sample(x, box, stride))) for x, box, stride in zip(feats, boxes, STRIDES)]

    @staticmethod
    def sample(x: Tensor, boxes: Tensor, stride: int) -> Tensor:
        """Sample features at the nine points of each cell's box: (N, 9 * C, h, w)."""
        cx, cy, w, h, angle = boxes.unbind(1)
        cos, sin = angle.cos(), angle.sin()
        size = x.new_tensor([x.shape[-1] * stride / 2, x.shape[-2] * stride / 2])
        taps = []
        for v in (-1 / 3, 0.0, 1 / 3):
            for u in (-1 / 3, 0.0, 1 / 3):
                point = torch.stack([cx + u * w * cos - v * h * sin, cy + u * w * sin + v * h * cos], -1)
                taps.append(F.grid_sample(x, point / size - 1, align_corners=False))
        return torch.cat(taps, 1)


class S2ARefineHead(nn.Module):
    """Aligns the features with the given boxes, then scores and corrects each box again."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.feat_refine_module = AlignConv(channels)
        self.or_conv = nn.Conv2d(channels, channels, 3, 1, 1)
        self.cls_convs, self.reg_convs = _tower(channels), _tower(channels)
        self.retina_cls = nn.Conv2d(channels, classes, 3, 1, 1)
        self.retina_reg = nn.Conv2d(channels, 5, 3, 1, 1)
        nn.init.constant_(self.retina_cls.bias, -math.log(99))  # type: ignore[arg-type]

    def forward(self, feats: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tuple[List[Tensor], List[Tensor]]:
        """Levels and their boxes -> scores and box deltas (N, 5, h, w) of each level."""
        cls_scores, bbox_preds = [], []
        for x in self.feat_refine_module(feats, boxes):
            x = F.relu(self.or_conv(x))
            cls_scores.append(self.retina_cls(self.cls_convs(x)))
            bbox_preds.append(self.retina_reg(self.reg_convs(x)))
        return cls_scores, bbox_preds


class S2ANetMini(nn.Module):
    """The complete detector.

    >>> model = S2ANetMini.trained()                                     # doctest: +SKIP
    >>> scores, deltas, boxes = model(torch.zeros(1, 3, 384, 512))       # doctest: +SKIP
    """

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        self.backbone = ResNetMini()
        self.neck = FPN(ResNetMini.channels[1:], channels)
        self.bbox_head_init = S2AHead(len(CLASSES), channels)
        self.bbox_head_refine = nn.ModuleList([S2ARefineHead(len(CLASSES), channels)])

    @classmethod
    def trained(cls) -> S2ANetMini:
        """Return the detector with the weights of the package, in evaluation mode."""
        from safetensors.torch import load_file

        model = cls()
        model.load_state_dict(
            {
                name: tensor.float() if tensor.is_floating_point() else tensor
                for name, tensor in load_file(WEIGHTS).items()
            }
        )
        return model.eval()

    def forward(self, inputs: Tensor) -> Tuple[List[Tensor], List[Tensor], List[Tensor]]:
        """Images (N, 3, H, W), RGB from 0 to 255 -> refined scores, deltas, and the boxes that these refine."""
        feats = self.neck(self.backbone((inputs - 110.0) / 60.0))
        _, bbox_preds = self.bbox_head_init(feats)
        boxes = [box.detach() for box in self.bbox_head_init.boxes(bbox_preds)]
        for head in self.bbox_head_refine:
            cls_scores, bbox_preds = head(feats, boxes)
        return cls_scores, bbox_preds, boxes

    @torch.no_grad()
    def predict(self, inputs: Tensor, score_threshold: float = 0.05) -> List[Detections]:
        """Detect objects in images (N, 3, H, W). Boxes are in pixels of the input."""
        return suppress(*self.raw(inputs), score_threshold)

    def raw(self, inputs: Tensor) -> Tuple[List[Tensor], List[Tensor]]:
        """Images (N, 3, H, W) -> logits (N, classes, h, w) and rotated boxes (N, 5, h, w) of each level."""
        cls_scores, bbox_preds, boxes = self(inputs)
        return cls_scores, [refine_boxes(box, delta) for box, delta in zip(boxes, bbox_preds)]


def suppress(logits: Sequence[Tensor], boxes: Sequence[Tensor], threshold: float = 0.05) -> List[Detections]:
    """Return the detections of each image: boxes above a threshold that do not overlap a better one."""
    flat_scores = torch.cat([level.detach().sigmoid().flatten(2) for level in logits], 2)
    flat_boxes = torch.cat([level.detach().flatten(2) for level in boxes], 2)
    return [_suppress(s.T.numpy(), b.T.numpy(), threshold) for s, b in zip(flat_scores, flat_boxes)]


def _suppress(scores: NDArray[np.float32], boxes: NDArray[np.float32], threshold: float) -> Detections:
    """Rotated non-maximum suppression, class by class: scores (cells, classes), boxes (cells, 5)."""
    cells, labels = np.nonzero(scores > threshold)
    best = np.argsort(-scores[cells, labels], kind="stable")[:MOST_PAIRS]
    cells, labels = cells[best], labels[best]
    found, confidence = boxes[cells], scores[cells, labels]
    overlap = rotated_iou(found, found) * (labels[:, None] == labels[None])
    keep = np.ones(len(found), bool)
    for i in range(len(found)):
        if keep[i]:
            keep[i + 1 :] &= overlap[i, i + 1 :] <= OVERLAP
    return Detections(found[keep], confidence[keep], labels[keep].astype(np.int64))


def prepare(image: NDArray[np.uint8]) -> Tuple[NDArray[np.uint8], Tuple[int, int]]:
    """Resize an image to the input size, keeping its aspect ratio, and pad it at the bottom and the right.

    image: (H, W, 3) uint8 RGB. Returns the padded picture and (h, w) of the image inside it.
    """
    height, width = image.shape[:2]
    scale = INPUT_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    padded = np.zeros((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), np.uint8)
    padded[: size[1], : size[0]] = resized
    return padded, (size[1], size[0])
