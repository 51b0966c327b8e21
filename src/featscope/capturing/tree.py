"""What runs in a model: every layer with its outputs, after one forward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

from torch import nn

from featscope.capturing.flatten import flatten
from featscope.capturing.names import field_names
from featscope.capturing.session import image_batch
from featscope.records import infer_stride


@dataclass
class LayerReport:
    """A layer that ran: how often, and the shapes of its outputs by field (of its first call)."""

    name: str
    cls: str
    calls: int = 0
    outputs: Dict[str, List[Tuple[int, ...]]] = field(default_factory=dict)


@dataclass
class ModelReport:
    """The layers that ran in the order of the model, and those that did not."""

    layers: List[LayerReport]
    silent: List[str]
    input_size: Optional[Tuple[int, int]] = None

    def stride(self, shape: Tuple[int, ...]) -> Optional[float]:
        """Pixels of the input per row of a map of this shape."""
        if self.input_size is None or len(shape) != 4:
            return None
        return infer_stride(self.input_size[0], shape[2])


def report(model: nn.Module, run: Callable[[], Any]) -> ModelReport:
    """Run a model once and report what each of its layers gave.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    >>> [layer.outputs for layer in report(model, lambda: model(torch.zeros(1, 3, 8, 8))).layers]
    [{'': [(1, 4, 4, 4)]}, {'': [(1, 4, 4, 4)]}]
    """
    layers = {name: LayerReport(name, type(module).__name__) for name, module in model.named_modules() if name}
    result = ModelReport([], [])

    def see_input(_module: nn.Module, inputs: Tuple[Any, ...], named: Dict[str, Any]) -> None:
        images = image_batch([*inputs, *named.values()])
        result.input_size = result.input_size or (images and images[1:])

    def see_output(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            layer = layers[name]
            layer.calls += 1
            if layer.calls == 1:
                count = len(output) if isinstance(output, (tuple, list)) else 1
                names = field_names(module, count) if count > 1 else None
                for key, tensor in flatten(output, names):
                    layer.outputs.setdefault(key, []).append(tuple(tensor.shape))

        return hook

    handles = [model.register_forward_pre_hook(see_input, with_kwargs=True)]
    handles += [module.register_forward_hook(see_output(name)) for name, module in model.named_modules() if name]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    result.layers = [layer for layer in layers.values() if layer.calls]
    result.silent = [layer.name for layer in layers.values() if not layer.calls]
    return result
