"""Report all layers of a model with their outputs, after one forward."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Optional, Tuple

import torch
from torch import nn

from featscope.arrays.readings import read
from featscope.capturing.calls import unwatch, watch
from featscope.capturing.flatten import flatten
from featscope.capturing.following import Followed
from featscope.capturing.given import GivenReadings
from featscope.capturing.layers import modules_of
from featscope.capturing.names import field_names
from featscope.capturing.reports import LayerReport, ModelReport, TensorReport, tensor_report


def report(model: nn.Module, run: Callable[[], object], axes: Optional[Mapping[str, str]] = None) -> ModelReport:
    """Run a model once and report the outputs of all its layers.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    >>> [layer.outputs[""][0].axes for layer in report(model, lambda: model(torch.zeros(1, 3, 8, 8))).layers]
    [('sample', 'channel', 'row', 'column'), ('sample', 'channel', 'row', 'column')]

    axes: as in `featscope.capture`.
    """
    followed = Followed(model)
    seen = _Layers(model, followed, GivenReadings(axes))
    watch(seen)
    try:
        with followed:
            run()
    finally:
        unwatch(seen)
    layers: List[LayerReport] = list(seen.layers.values())
    return ModelReport(
        [layer for layer in layers if layer.calls],
        [layer.name for layer in layers if not layer.calls],
        followed.input_size,
    )


class _Layers:
    """Observes the layers of a model that run (`featscope.capturing.calls`)."""

    def __init__(self, model: nn.Module, followed: Followed, given: GivenReadings) -> None:
        self.layers: Dict[int, LayerReport] = {}
        self._followed, self._given = followed, given
        for name, module in modules_of(model, shared=False):
            if name:
                self.layers[id(module)] = LayerReport(name, type(module).__name__)

    def begin(self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]) -> Optional[_LayerCall]:
        """Notice that a module is called."""
        layer = self.layers.get(id(module))
        return None if layer is None else _LayerCall(layer, module, self._followed, self._given)


class _LayerCall:
    """The call of a layer."""

    def __init__(self, layer: LayerReport, module: nn.Module, followed: Followed, given: GivenReadings) -> None:
        self._layer, self._module, self._followed, self._given = layer, module, followed, given

    def end(self, output: object) -> None:
        """Count the call, and report the first output."""
        self._layer.calls += 1
        if self._layer.calls == 1:
            count = len(output) if isinstance(output, (tuple, list)) else 1
            names = field_names(self._module, count) if count > 1 else None
            for key, tensor in flatten(output, names):
                self._layer.outputs.setdefault(key, []).append(self._report_of(key, tensor))

    def fail(self) -> None:
        """Do nothing."""

    def _report_of(self, field: str, tensor: torch.Tensor) -> TensorReport:
        if tensor.is_nested:
            return TensorReport((), (), (), "it is a nested tensor")
        reading = read(self._followed.follower.trace(tensor))
        reading = self._given.checked(self._layer.name, field, tensor, reading)
        return tensor_report(reading, self._followed.input_size or (1, 1))
