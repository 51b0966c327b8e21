"""What runs in a model: every layer with its outputs, after one forward."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from torch import nn

from featscope.capturing.flatten import flatten
from featscope.capturing.names import field_names
from featscope.capturing.reports import LayerReport, ModelReport
from featscope.capturing.session import image_batch


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
