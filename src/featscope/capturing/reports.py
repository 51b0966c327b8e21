"""What is said of a model after one forward: its layers and their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from featscope.records import infer_stride


@dataclass
class LayerReport:
    """A layer that ran: how often, and the shapes of its outputs by field (of its first call).

    is_map: whether outputs of four axes have rows and columns of the image, as far as anybody knows.
    """

    name: str
    cls: str
    calls: int = 0
    outputs: Dict[str, List[Tuple[int, ...]]] = field(default_factory=dict)
    is_map: bool = True


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
