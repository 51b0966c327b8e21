"""timm: the smallest model of each family, against `forward_intermediates`."""

from __future__ import annotations

import re
from functools import partial
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import timm
import torch
from timm.models import list_models
from timm.models._registry import _model_to_module
from torch import nn

from layouts.cases import Case, Family, Oracle, Size, Stride, Subject, evenly, images_of, usual_sizes

LARGE = 20e6  # numbers of a model, from which on it is made with fewer blocks where it can be
BLOCKS = 3
BORDER = 0.1  # of an image, that convolutions without a border lose
HUGE = 120e6  # from which on it is left out where it cannot
SMALL = "tiny|nano|atto|zepto|femto|small|xxs|xs|lite|micro|_m?0|_b0|_s0|_s$|_t$|050|26|18|14|10"
MOST_CANDIDATES = 4


def families() -> Iterator[Family]:
    """Models of one module whose names begin with the same letters are a family."""
    names: Dict[Tuple[str, str], List[str]] = {}
    for name in list_models():
        if not name.startswith("test_"):
            names.setdefault((_model_to_module[name], re.match("[a-z]+", name).group()), []).append(name)
    for (module, letters), members in sorted(names.items()):
        yield Family("timm", f"{module}: {letters}", partial(_open, members))


def _open(names: Sequence[str]) -> Case:
    small = sorted((name for name in names if re.search(SMALL, name)), key=len) or sorted(names, key=len)
    sizes: Dict[str, int] = {}
    for name in small[:MOST_CANDIDATES]:
        with torch.device("meta"):
            sizes[name] = sum(one.numel() for one in timm.create_model(name).parameters())
    name = min(sizes, key=lambda one: sizes[one])
    with torch.device("meta"):
        if sizes[name] > HUGE:
            _with_fewer_blocks(name, sizes[name])
        own = tuple(timm.create_model(name).default_cfg["input_size"][1:])
    return Case(name, partial(make, name, sizes[name] > LARGE, own), usual_sizes(own))


def _with_fewer_blocks(name: str, size: int) -> None:
    try:
        timm.create_model(name, depth=BLOCKS)
    except TypeError:
        raise ValueError(f"left out: its smallest has {size / 1e6:.0f} million numbers") from None


def make(name: str, large: bool, own: Size, size: Size) -> Subject:
    """The model in the first way in which it takes images of this size."""
    fewer = [{"depth": BLOCKS}, {}] if large else [{}]
    ways: List[Dict[str, object]] = (
        [{}]
        if size == own
        else [{}, {"img_size": size}, {"dynamic_img_size": True}, {"dynamic_img_size": True, "dynamic_img_pad": True}]
    )
    problem: Exception = ValueError("no way")
    for depth in fewer:
        for way in ways:
            try:
                model = _broken_symmetry(timm.create_model(name, **depth, **way).eval())
                with torch.no_grad():
                    size == own or model(images_of(size))
                return Subject(model, partial(_oracles, model), model)
            except TimeoutError:
                raise
            except Exception as error:  # noqa: BLE001 (a model says in many ways that it does not take an option)
                problem = error
    raise problem


def _broken_symmetry(model: nn.Module) -> nn.Module:
    """Zeros that a training would move away from hide what a layer does."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() == 1 and bool((parameter == parameter[:1]).all()):
            parameter.data.add_(0.1 * torch.rand_like(parameter))
    return model


def _oracles(model: nn.Module, images: torch.Tensor) -> List[Oracle]:
    maps = model.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
    info = list(model.feature_info)
    said = [(one.get("module", ""), one.get("reduction")) for one in info] if len(info) == len(maps) else []
    said = said or [("", None)] * len(maps)
    found = [Oracle(values, _stride(values, images, one), layer) for values, (layer, one) in zip(maps, said)]
    return evenly(found)


def _stride(values: torch.Tensor, images: torch.Tensor, reduction: Optional[float]) -> Optional[Stride]:
    """As the library names it, unless the model resizes its images first: then its cells share them."""
    if reduction is None or values.dim() != 4:
        return None
    sides = list(zip(images.shape[2:], values.shape[2:]))
    if all(side % cells and side // cells == reduction for side, cells in sides):
        return None  # worked out from the number of cells, rounded down to whole pixels
    if all(abs(side - cells * reduction) <= 2 * reduction + BORDER * side for side, cells in sides):
        return reduction, reduction
    return sides[0][0] / sides[0][1], sides[1][0] / sides[1][1]
