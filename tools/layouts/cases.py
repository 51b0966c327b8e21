"""The nouns: a model at a size, the maps that it says it has, and the layers that give them."""

from __future__ import annotations

import math
import random
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

import torch
from torch import nn

Size = Tuple[int, int]
Stride = Tuple[float, float]
_Map = TypeVar("_Map")

PROBES = 12  # values of a map that are looked for in a layer's output
TIMES_LARGER = 3  # a layer's output may hold other tokens or padding beside the map
MOST_LAYERS = 3  # of those that give one map
MOST_MAPS = 6  # of a model
STEP = 128  # pixels by which an image is made larger to count the cells


class Oracle(NamedTuple):
    """A map as the model's own library gives it, (N, C, H, W). stride: pixels a cell, if the library names it.

    layer: the layer that is said to give it; '' where nobody says.
    """

    values: torch.Tensor
    stride: Optional[Stride] = None
    layer: str = ""


class Subject(NamedTuple):
    """A model that was made for a size.

    oracles: the model's own maps of a batch. forward: what a user would call, while featscope captures. own_output:
    whether the maps are the model's own output.
    """

    model: nn.Module
    oracles: Callable[[torch.Tensor], List[Oracle]]
    forward: Callable[[torch.Tensor], object]
    own_output: bool = False


class Case(NamedTuple):
    """A model of a family. sizes: kind -> sizes to try, until one runs. make: may raise for a size."""

    name: str
    make: Callable[[Size], Subject]
    sizes: Dict[str, Sequence[Size]]


class Family(NamedTuple):
    """A family of a library's models. open: chooses one of them, once it is its turn."""

    library: str
    name: str
    open: Callable[[], Case]


def usual_sizes(own: Size) -> Dict[str, Sequence[Size]]:
    """A model's own size, sizes that are no squares, and sizes that no stride divides."""
    side = max(own)
    return {
        "own": [own] if side <= 384 else [(256, 256), (384, 384), own],
        "non-square": [(128, 192), (192, 256), (side, side + 64), (side, 2 * side), (256, 512)],
        "undivided": [(127, 159), (223, 255), (side - 1, side + 31), (side + 1, side + 1)],
    }


def images_of(size: Size) -> torch.Tensor:
    """Two images of noise: no two cells are alike."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def tensors_in(output: object) -> Iterator[torch.Tensor]:
    """All tensors of a layer's output."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from tensors_in(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors_in(value)


def layers_that_give(
    model: nn.Module, forward: Callable[[torch.Tensor], object], images: torch.Tensor, oracles: Sequence[Oracle]
) -> List[List[str]]:
    """For each oracle the layers whose output has all its values, in whatever order: outermost and innermost."""
    probes = [_probes(oracle.values) for oracle in oracles]
    found: List[Dict[str, None]] = [{} for _ in oracles]

    def look(name: str, output: object) -> None:
        for tensor in (one for one in tensors_in(output) if one.dim() > 2):
            for index, oracle in enumerate(oracles):
                if name not in found[index] and _holds(tensor.detach().reshape(-1), oracle.values, probes[index]):
                    found[index][name] = None

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        forward(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [_few(list(names), oracle.layer) for names, oracle in zip(found, oracles)]


def _holds(flat: torch.Tensor, values: torch.Tensor, probes: Sequence[torch.Tensor]) -> bool:
    """Whether a layer's output has the values of a map, in whatever order."""
    if not values.numel() <= flat.numel() <= TIMES_LARGER * values.numel():
        return False
    if not all(bool((flat == value).any()) for value in probes):
        return False
    if flat.numel() > values.numel():
        # A concatenation of several levels holds all of one of them, and is another map.
        return flat.numel() % values.numel() != 0
    return bool(torch.isclose(flat.double().abs().sum(), values.double().abs().sum(), rtol=1e-5))


def _probes(values: torch.Tensor) -> List[torch.Tensor]:
    flat = values.reshape(-1)
    there = torch.nonzero(flat).reshape(-1)
    chosen = random.Random(0).sample(range(len(there)), min(PROBES, len(there)))
    return [flat[there[index]] for index in chosen]


def _few(names: List[str], said: str) -> List[str]:
    """The one that is said to give it, the outermost and the innermost."""
    names = sorted(names, key=lambda name: name.count("."))
    return list(dict.fromkeys([*([said] if said in names else []), *names[:1], *names[-1:]]))[:MOST_LAYERS]


def evenly(maps: Sequence[_Map]) -> List[_Map]:
    """At most so many, the first and the last among them."""
    if len(maps) <= MOST_MAPS:
        return list(maps)
    return [maps[round(index * (len(maps) - 1) / (MOST_MAPS - 1))] for index in range(MOST_MAPS)]


def strides_by_slope(make: Callable[[Size], Subject], own: Size) -> Optional[List[Stride]]:
    """Pixels a cell of each map: how many more cells a larger image has. None where it takes no larger one."""
    larger = (own[0] + STEP, own[1] + STEP)
    try:
        with torch.no_grad():
            cells = [[one.values.shape[2:] for one in make(size).oracles(images_of(size))] for size in (own, larger)]
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 (whatever a model does with a size that it does not take)
        return None
    return [(_stride(own[0], few[0], more[0]), _stride(own[1], few[1], more[1])) for few, more in zip(*cells)]


def _stride(side: int, few: int, more: int) -> float:
    """Whole pixels, where the image is so many times its cells: a larger image may be no multiple of the stride."""
    if more <= few:
        return float("nan")
    slope = STEP / (more - few)
    if math.log2(slope).is_integer():
        return slope
    return side / few if side % few == 0 and abs(side / few - slope) < 0.1 * slope else slope


def known_stride(strides: Optional[Sequence[Stride]], index: int) -> Optional[Stride]:
    """The stride of a map, where counting cells gave one."""
    if strides is None or index >= len(strides) or any(map(math.isnan, strides[index])):
        return None
    return strides[index]
