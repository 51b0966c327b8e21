"""Reduce a tensor to what the policy keeps, on the tensor's device."""

from __future__ import annotations

import math
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import torch

from featscope.arrays.channels import parse_channels
from featscope.arrays.packed import MINUS_INFINITY, NAN, PLUS_INFINITY, STEPS
from featscope.errors import BadOptionError
from featscope.records import Policy

_DTYPES: Dict[str, Optional[torch.dtype]] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": None,  # by codes, see `_encode`
}


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(1, keepdim=True)


def _absmean(x: torch.Tensor) -> torch.Tensor:
    return x.abs().mean(1, keepdim=True)


def _max(x: torch.Tensor) -> torch.Tensor:
    return x.amax(1, keepdim=True)


def _l2(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _std(x: torch.Tensor) -> torch.Tensor:
    return x.std(1, unbiased=False, keepdim=True)


def _select_max(x: torch.Tensor) -> torch.Tensor:
    # With five axes the channel is chosen for each slice separately, as in a reduction after the capture.
    return _take_channels(x, x.sum((-2, -1), keepdim=True).argmax(1, keepdim=True))


_REDUCTIONS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "absmean": _absmean,
    "max": _max,
    "l2": _l2,
    "std": _std,
    "select_max": _select_max,
}
# (N, C, H, W) -> (N, 1, H, W), and (N, C, T, H, W) -> (N, 1, T, H, W), by the names of `featscope.capturing.policy`.


class Thinned(NamedTuple):
    """The part of a tensor that a policy keeps. The last three fields are as in `featscope.records.CapturedMap`."""

    tensor: torch.Tensor

    owned: bool
    """Whether the memory does not belong to the model."""

    reduced: str = ""
    channels: Optional[torch.Tensor] = None
    scales: Optional[torch.Tensor] = None


_NARROW = {getattr(torch, name) for name in dir(torch) if name.startswith("float8")} | {torch.bfloat16}
"""Types that NumPy does not have. Their values are stored in single precision."""


def why_not(tensor: torch.Tensor) -> str:
    """Return why a tensor cannot be stored; '' if it can.

    >>> why_not(torch.zeros(1, device="meta"))
    'it is on the meta device and has no values'
    """
    if tensor.is_nested:
        return "it is a nested tensor, whose rows have different sizes"
    if tensor.device.type == "meta":
        return "it is on the meta device and has no values"
    if "FakeTensor" in type(tensor).__name__:
        return "it is a fake tensor and has no values"
    functions = getattr(torch._C, "_functorch", None)
    if functions is not None and (functions.is_batchedtensor(tensor) or functions.is_gradtrackingtensor(tensor)):
        return "it is inside vmap or another transform of torch.func, where one tensor stands for several"
    return ""


def thin(
    tensor: torch.Tensor,
    policy: Policy,
    rows: Optional[Sequence[int]] = None,
    layer: str = "",
    channels: bool = True,
) -> Thinned:
    """Compute the part of a tensor that a policy keeps, on the tensor's device and without waiting for the device.

    >>> thin(torch.ones(1, 8, 2, 2), Policy(reduce="l2", dtype="float16")).tensor.shape
    torch.Size([1, 1, 2, 2])

    rows: indices of the kept samples in the batch; None for all. layer: named in errors. channels: whether the second
    of four axes, or of the five of a video or volume, contains channels. Tensors with other axes keep all of them.
    """
    original = tensor.detach()
    tensor = _storable(original, policy.dtype)
    if rows is not None:
        tensor = tensor[list(rows)]
    chosen = scales = None
    reduced = ""
    if channels and tensor.dim() in (4, 5) and not tensor.is_complex():
        if policy.channels:
            tensor, chosen = _choose_channels(tensor, policy.channels, layer)
        if policy.reduce:
            tensor, reduced = _reduce(tensor, policy.reduce), policy.reduce
    if tensor.is_floating_point() and policy.dtype:
        kind = _DTYPES[policy.dtype]
        if kind is None:
            tensor, scales = _encode(tensor)
        else:
            tensor = tensor.to(kind)
    strided = original.layout is torch.strided
    owned = not strided or original.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()
    return Thinned(tensor, owned, reduced, chosen, scales)


def _storable(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    """A tensor in a form that a file can hold: dense, not quantised, of a dtype that NumPy has. dtype: the policy's."""
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dtype is torch.complex32:
        return tensor.to(torch.complex64)
    if tensor.dtype in _NARROW and (dtype != "bfloat16" or tensor.dtype is not torch.bfloat16):
        return tensor.float()
    return tensor


def _reduce(tensor: torch.Tensor, how: str) -> torch.Tensor:
    """Reduce over channels without overflow or underflow of sums and squares.

    Every reduction is homogeneous: scaling the map scales the result. Scaling by a power of two is exact. Results that
    exceed the dtype become its largest number.
    """
    reduction = _REDUCTIONS[how]
    # Use at least single precision, as a reduction after the capture does.
    tensor = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    if how == "max" or not tensor.numel():
        return reduction(tensor)
    # Only on the CPU, because reading a number from another device would wait for the device.
    if tensor.device.type == "cpu" and 1e-12 < _largest(tensor) < 1e12:
        return reduction(tensor)
    largest = _largest(tensor.nan_to_num(0.0, 0.0, 0.0))
    size = torch.finfo(tensor.dtype)
    most = math.frexp(size.max)[1] - 2  # the largest exponent whose power of two has an inverse
    exponent = torch.frexp(largest)[1].clamp(-most, most)
    unit = torch.ldexp(torch.ones_like(largest), exponent)
    found = reduction(tensor / unit)
    return torch.where(found.isfinite(), (found * unit).clamp(size.min, size.max), found)


def _largest(tensor: torch.Tensor) -> torch.Tensor:
    low, high = torch.aminmax(tensor)
    return torch.maximum(high, -low)


def _choose_channels(tensor: torch.Tensor, choice: str, layer: str) -> Tuple[torch.Tensor, torch.Tensor]:
    kind, numbers = parse_channels(choice)
    if kind == "top":
        strength = tensor.float().abs().flatten(2).mean(2).nan_to_num(nan=-1.0, posinf=float("inf"))
        order = strength.argsort(stable=True, dim=1, descending=True)
        channels = order[:, : numbers[0]]
    else:
        there = [number for number in numbers if number < tensor.shape[1]]
        if not there:
            raise BadOptionError(
                f"{layer!r} has {tensor.shape[1]} channels, but none of {choice!r}; "
                "choose others, or leave the layer out: '!" + layer + "'"
            )
        channels = torch.tensor(there, device=tensor.device).expand(len(tensor), -1)
    return _take_channels(tensor, channels.reshape(*channels.shape, *(1 for _ in tensor.shape[2:]))), channels


def _take_channels(tensor: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """Return the channels at indices (N, K, 1 or T, 1, 1), which have as many axes as the tensor."""
    return tensor.gather(1, channels.expand(-1, -1, *tensor.shape[2:]))


def _encode(tensor: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return 8-bit codes, and (2, N, C) with the value of code 0 and the step between codes, to decode them."""
    leading = min(2, max(0, tensor.dim() - 1))
    flat = tensor.float().flatten(leading)
    infinity = float("inf")
    finite = flat.isfinite()
    if flat.shape[-1]:
        low = flat.where(finite, flat.new_tensor(infinity)).amin(-1)
        high = flat.where(finite, flat.new_tensor(-infinity)).amax(-1)
    else:
        low = high = flat.new_zeros(flat.shape[:-1])
    low, high = low.where(low.isfinite(), low.new_zeros(())), high.where(high.isfinite(), high.new_zeros(()))
    step = high / STEPS - low / STEPS  # divide first, because the range of large numbers may overflow
    safe = step.where(step > 0, step.new_ones(()))
    codes = (flat / safe[..., None] - (low / safe)[..., None]).round().clamp(0, STEPS)
    codes = codes.where(flat != infinity, codes.new_tensor(float(PLUS_INFINITY)))
    codes = codes.where(flat != -infinity, codes.new_tensor(float(MINUS_INFINITY)))
    codes = codes.where(~flat.isnan(), codes.new_tensor(float(NAN)))
    return codes.to(torch.uint8).reshape(tensor.shape), torch.stack([low, step])
