"""What runs in a model: every layer with its outputs, after one forward."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from torch import nn

from featscope.capturing.calls import unwatch, watch
from featscope.capturing.flatten import flatten
from featscope.capturing.inputs import find_images
from featscope.capturing.layers import modules_of
from featscope.capturing.names import field_names
from featscope.capturing.reports import LayerReport, ModelReport


def report(model: nn.Module, run: Callable[[], object]) -> ModelReport:
    """Run a model once and report what each of its layers gave.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    >>> [layer.outputs for layer in report(model, lambda: model(torch.zeros(1, 3, 8, 8))).layers]
    [{'': [(1, 4, 4, 4)]}, {'': [(1, 4, 4, 4)]}]
    """
    seen = _Layers(model)
    watch(seen)
    try:
        run()
    finally:
        unwatch(seen)
    layers: List[LayerReport] = list(seen.layers.values())
    return ModelReport(
        [layer for layer in layers if layer.calls], [layer.name for layer in layers if not layer.calls], seen.input_size
    )


class _Layers:
    """Sees the layers of a model run (`featscope.capturing.calls`)."""

    def __init__(self, model: nn.Module) -> None:
        self.layers: Dict[int, LayerReport] = {}
        self.input_size: Optional[Tuple[int, int]] = None
        self._model = model
        for name, module in modules_of(model, shared=False):
            if name:
                self.layers[id(module)] = LayerReport(name, type(module).__name__)

    def begin(self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]) -> Optional[_LayerCall]:
        if module is self._model:
            images = find_images([*arguments, *named.values()])
            self.input_size = self.input_size or (images.size if images is not None else None)
        layer = self.layers.get(id(module))
        return None if layer is None else _LayerCall(layer, module)


class _LayerCall:
    """A layer that runs."""

    def __init__(self, layer: LayerReport, module: nn.Module) -> None:
        self._layer, self._module = layer, module

    def end(self, output: object) -> None:
        """Note the shapes of its first output."""
        self._layer.calls += 1
        if self._layer.calls == 1:
            count = len(output) if isinstance(output, (tuple, list)) else 1
            names = field_names(self._module, count) if count > 1 else None
            for key, tensor in flatten(output, names):
                shape = () if tensor.is_nested else tuple(tensor.shape)
                self._layer.outputs.setdefault(key, []).append(shape)

    def fail(self) -> None:
        """It gave nothing."""
