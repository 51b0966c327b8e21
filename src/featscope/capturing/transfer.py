"""From a tensor on its device to an array that belongs to nobody else."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def to_array(tensor: torch.Tensor) -> NDArray[np.generic]:
    """Copy a tensor: later in-place operations on it change nothing here.

    bfloat16, which NumPy does not have, becomes float32; quantised tensors become real numbers;
    sparse ones dense.
    """
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    copy.copy_(tensor)
    array: NDArray[np.generic] = copy.numpy()
    return array
