"""Which sizes of objects the training of a torchvision detector assigns to each of its levels.

Read in torchvision 0.28:

- `FCOS.compute_loss`: a cell is trained on an object whose largest distance to a side lies between 4 and 8 times the
  side of the level's anchor; the first level has no smallest distance and the last one no largest.
- `RetinaNet.compute_loss` with `Matcher`: an anchor is trained on an object that it overlaps by `high_threshold`. An
  object that no anchor overlaps so much gets its best anchors in addition. SSD does the same with `SSDMatcher`, and its
  anchors are shares of the input.
- `LevelMapper`: a region is read from the level floor(canonical_level + log2(size / canonical_scale)), clamped to the
  levels of the strides of the maps. Two maps of one stride (MobileNet) are one level, and the second is never read.
"""

from __future__ import annotations

from typing import List, Optional, Tuple, Union

import torch
from torchvision.models.detection import _utils, anchor_utils, faster_rcnn, fcos, retinanet, ssd
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

from featscope.arrays.assigned import AssignedSizes, by_anchors, by_area, by_distance
from featscope.records import Size

_Anchors = List[List[Tuple[float, float]]]
_Generator = Union[anchor_utils.AnchorGenerator, anchor_utils.DefaultBoxGenerator]

Model = Union[faster_rcnn.FasterRCNN, retinanet.RetinaNet, fcos.FCOS, ssd.SSD]


def assigned_sizes(model: Model, size: Size) -> AssignedSizes:
    """Return which sizes the training of a detector assigns to its levels, or why they are not known.

    >>> assigned_sizes(fcos_resnet50_fpn(), (800, 1088)).in_words(1)                 # doctest: +SKIP
    '128 to 256 px'

    size: (height, width) of the input with its padding. The model must have run once, as Faster R-CNN counts its
    levels then.
    """
    kind = type(model)
    if isinstance(model, faster_rcnn.FasterRCNN):
        return _of_regions(model.roi_heads.box_roi_pool)
    anchors = _anchors(model.anchor_generator, size)
    if anchors is not None and kind.compute_loss is fcos.FCOS.compute_loss:
        sides = [level[0][0] for level in anchors]
        ranges = [(4 * side, 8 * side) for side in sides]
        ranges[0] = (0.0, ranges[0][1])
        ranges[-1] = (ranges[-1][0], float("inf"))
        return by_distance(ranges, f"the distances in compute_loss of {kind.__name__}")
    matched = kind.compute_loss in (retinanet.RetinaNet.compute_loss, ssd.SSD.compute_loss)
    if anchors is not None and matched and type(model.proposal_matcher) in (_utils.Matcher, _utils.SSDMatcher):
        return by_anchors(anchors, f"the anchors of {kind.__name__}", float(model.proposal_matcher.high_threshold))
    return AssignedSizes(unknown=f"featscope does not know how {kind.__name__} assigns objects to levels")


def _anchors(generator: _Generator, size: Size) -> Optional[_Anchors]:
    """Return (width, height) of the anchors of each level in pixels; None for a generator that is not known."""
    if type(generator) is anchor_utils.AnchorGenerator:
        return [
            [(right - left, bottom - top) for left, top, right, bottom in _numbers(level)]
            for level in generator.cell_anchors
        ]
    if type(generator) is anchor_utils.DefaultBoxGenerator:
        shares = [level.clamp(0, 1) if generator.clip else level for level in generator._wh_pairs]
        return [[(width * size[1], height * size[0]) for width, height in _numbers(level)] for level in shares]
    return None


def _numbers(values: torch.Tensor) -> List[List[float]]:
    return values.detach().cpu().double().tolist()


def _of_regions(pool: MultiScaleRoIAlign) -> AssignedSizes:
    if type(pool) is not MultiScaleRoIAlign:
        return AssignedSizes(unknown=f"featscope does not know from which levels {type(pool).__name__} reads a region")
    mapper = pool.map_levels
    if type(mapper) is not LevelMapper or pool.scales is None:
        return AssignedSizes(unknown="the levels from which regions are read are not known before the model has run")
    first = mapper.s0 * 2.0 ** (mapper.k_min + 1 - mapper.lvl0)
    return by_area(first, mapper.k_max - mapper.k_min + 1, "LevelMapper of MultiScaleRoIAlign")
