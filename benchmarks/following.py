"""Following the axes: what the first forward of a size of input costs more than the later ones."""

from __future__ import annotations

from typing import Callable, Iterator, Tuple

import torch
from torch import nn

from benchmarks.measure import Row, alternate
from featscope.capturing.following import Followed

MOST_FORWARDS = 2.0


def rows() -> Iterator[Row]:
    """One row a network: a forward that is followed, against a bare one."""
    for name, make, size in _networks():
        torch.manual_seed(0)
        model, image = make().eval(), torch.rand(1, 3, *size)

        def bare(model: nn.Module = model, image: torch.Tensor = image) -> None:
            with torch.no_grad():
                model(image)

        def followed(model: nn.Module = model, image: torch.Tensor = image) -> None:
            with torch.no_grad(), Followed(model):
                model(image)

        times = alternate({"bare": bare, "followed": followed})
        extra = times["followed"] / times["bare"] - 1
        yield Row(
            f"following the axes of {name} at {size[0]} x {size[1]}, once for each size of input",
            f"{times['followed'] * 1e3:.0f} ms",
            f"{times['bare'] * 1e3:.0f} ms bare",
            f"+{extra:.2f} forwards",
            f"+{MOST_FORWARDS:g} forwards",
            extra <= MOST_FORWARDS,
        )


def _networks() -> Iterator[Tuple[str, Callable[[], nn.Module], Tuple[int, int]]]:
    import timm

    yield "ResNet-50", lambda: timm.create_model("resnet50"), (640, 640)
    yield "ResNet-18", lambda: timm.create_model("resnet18"), (224, 224)
    yield "Swin-T", lambda: timm.create_model("swin_tiny_patch4_window7_224"), (224, 224)
    yield "ViT-S/16", lambda: timm.create_model("vit_small_patch16_224"), (224, 224)
    yield "ConvNeXt-T", lambda: timm.create_model("convnext_tiny"), (224, 224)
