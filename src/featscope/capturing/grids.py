"""Sequences of tokens as maps: on the grid that the model cut the image into, not on the nearest square."""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch import nn

from featscope.capturing.calls import unwatch, watch
from featscope.capturing.layers import modules_of

Named = Tuple[str, torch.Tensor]
Grid = Tuple[int, int]

_MOST_PREFIX_TOKENS = 16  # a class token and registers
_MOST_LEVELS = 6


class TokenGrids:
    """Remembers the sizes of maps that a forward went through, and lays sequences of tokens out on them.

    A sequence (N, h * w, C) becomes (N, C, h, w). Class and register tokens before the patches, and
    detection tokens behind them, are kept beside it as `prefix_tokens` and `suffix_tokens`; several levels
    in one sequence, as in Deformable DETR, come apart again. Attention (N, heads, queries, h * w) becomes
    (N, queries, h, w), the mean over heads. What fits no grid, and a decoder's queries, stay as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        # Models without attention have no tokens.
        attentive = any("attention" in type(module).__name__.lower() for _, module in modules_of(model))
        self._convolutions = {
            id(module): module for _, module in modules_of(model) if attentive and isinstance(module, nn.Conv2d)
        }
        self._local = threading.local()
        config = getattr(model, "config", None)
        self._suffix = int(getattr(config, "num_detection_tokens", 0) or 0)  # YOLOS

    def attach(self) -> None:
        """Watch the convolutions."""
        if self._convolutions:
            watch(self)

    def detach(self) -> None:
        """Watch them no more."""
        unwatch(self)

    def start_forward(self) -> None:
        """Forget the sizes of the forward before."""
        self._sizes.clear()
        self._patches.clear()

    @property
    def _sizes(self) -> List[Grid]:
        """The maps of this thread's forward."""
        sizes: List[Grid] = self._local.__dict__.setdefault("sizes", [])
        return sizes

    @property
    def _patches(self) -> List[Grid]:
        """Those of them that convolutions made whose windows do not overlap."""
        patches: List[Grid] = self._local.__dict__.setdefault("patches", [])
        return patches

    def begin(
        self, module: nn.Module, arguments: Tuple[object, ...], named: Dict[str, object]
    ) -> Optional[_Convolution]:
        """A module is called (`featscope.capturing.calls`)."""
        convolution = self._convolutions.get(id(module))
        return None if convolution is None else _Convolution(self, convolution)

    def see(self, module: nn.Conv2d, output: object) -> None:
        """A convolution gave a map."""
        if isinstance(output, torch.Tensor) and output.dim() >= 3:
            size = (int(output.shape[-2]), int(output.shape[-1]))
            self._sizes.append(size)
            if module.kernel_size == module.stride and max(module.stride) > 1:
                self._patches.append(size)

    def lay_out(self, layer: str, tensors: Sequence[Named]) -> List[Named]:
        """The tensors of a layer, sequences of tokens as maps."""
        if not self._sizes:
            return list(tensors)
        return [named for field, tensor in tensors for named in self._maps(layer, field, tensor)]

    def _maps(self, layer: str, field: str, tensor: torch.Tensor) -> List[Named]:
        if tensor.dim() == 4 and "att" in f"{layer}.{field}":
            return [(field, grid) for grid in self._attention(tensor)] or [(field, tensor)]
        if tensor.dim() != 3 or "decoder" in layer:
            return [(field, tensor)]
        count = tensor.shape[1]
        levels = self._levels(count)
        if levels:
            parts = torch.split(tensor, [h * w for h, w in levels], 1)
            return [(field, _as_map(part, grid)) for part, grid in zip(parts, levels)]
        for grid in reversed(self._patches):
            prefix = count - grid[0] * grid[1] - self._suffix
            if 0 <= prefix <= _MOST_PREFIX_TOKENS:
                end = prefix + grid[0] * grid[1]
                rest = [("prefix_tokens", tensor[:, :prefix]), ("suffix_tokens", tensor[:, end:])]
                named = [(f"{field}.{name}" if field else name, part) for name, part in rest if part.shape[1]]
                return [(field, _as_map(tensor[:, prefix:end], grid)), *named]
        return [(field, tensor)]

    def _levels(self, count: int) -> Optional[List[Grid]]:
        """The grid, or the last grids in their order, that have so many cells together."""
        for grid in reversed(self._sizes):
            if grid[0] * grid[1] == count:
                return [grid]
        for end in range(len(self._sizes), 0, -1):
            for number in range(2, _MOST_LEVELS):
                grids = self._sizes[max(0, end - number) : end]
                if sum(h * w for h, w in grids) == count:
                    return grids
        return None

    def _attention(self, weights: torch.Tensor) -> List[torch.Tensor]:
        levels = self._levels(weights.shape[-1])
        if levels is None:
            return []
        parts = torch.split(weights.mean(1), [h * w for h, w in levels], -1)
        return [part.reshape(*part.shape[:2], *grid) for part, grid in zip(parts, levels)]


class _Convolution:
    """A convolution that runs."""

    def __init__(self, grids: TokenGrids, module: nn.Conv2d) -> None:
        self._grids, self._module = grids, module

    def end(self, output: object) -> None:
        """It gave a map."""
        self._grids.see(self._module, output)

    def fail(self) -> None:
        """It gave none."""


def _as_map(tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)
