"""What of a batch is kept: which samples, and which part of each tensor, on the tensor's own device."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import msgspec
import torch

from featscope.arrays.channels import parse_channels
from featscope.arrays.packed import MINUS_INFINITY, NAN, PLUS_INFINITY, STEPS
from featscope.errors import BadOptionError, unknown_name
from featscope.records import Policy

DTYPES: Dict[str, Optional[torch.dtype]] = {
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
    return _take_channels(x, x.sum((2, 3)).argmax(1, keepdim=True))


REDUCTIONS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": _mean,
    "absmean": _absmean,
    "max": _max,
    "l2": _l2,
    "std": _std,
    "select_max": _select_max,
}
"""Those of `featscope.arrays.reduce` that are worked out on capture: (N, C, H, W) to (N, 1, H, W)."""


def make_policy(values: Union[Policy, Mapping[str, Any], None]) -> Policy:
    """A policy from what a config or a call gives, checked.

    >>> make_policy({"dtype": "float16", "channels": [0, 3]}).channels
    '0,3'

    Raises `BadOptionError` or `UnknownNameError` for what means nothing.
    """
    if values is None:
        return Policy()
    if not isinstance(values, Policy):
        given = dict(values)
        if isinstance(given.get("channels"), (list, tuple, range)):
            given["channels"] = ",".join(map(str, given["channels"]))
        if isinstance(given.get("images"), str):
            given["images"] = [given["images"]]
        for name in given:
            if name not in Policy.__struct_fields__:
                raise unknown_name("policy", name, Policy.__struct_fields__, "featscope capture --help")
        try:
            values = msgspec.convert(given, Policy)
        except msgspec.ValidationError as error:
            raise BadOptionError(f"a policy of capture is wrong: {error}; see featscope capture --help") from None
    if values.dtype and values.dtype not in DTYPES:
        raise unknown_name("dtype", values.dtype, DTYPES, "featscope capture --help")
    if values.reduce and values.reduce not in REDUCTIONS:
        raise unknown_name("reduction on capture", values.reduce, REDUCTIONS, "featscope capture --help")
    if values.channels and parse_channels(values.channels)[0] not in ("list", "top"):
        raise BadOptionError(f"channels {values.channels!r} cannot be kept on capture; type 0-15, 3,7 or top:16")
    if values.every < 1 or values.max_samples < 0:
        raise BadOptionError(
            f"every={values.every}, max_samples={values.max_samples}: every starts at 1, max_samples at 0 (all)"
        )
    return values


class SampleFilter:
    """Which samples of a data set a rank keeps, batch after batch.

    >>> keep = SampleFilter(Policy(every=2), dataset_size=3, rank=0, world_size=1)
    >>> keep.rows(2, []), keep.rows(2, [])
    ([0], [0])

    A distributed sampler gives sample p * world_size + rank to a rank as its p-th, and repeats samples
    behind the last one to fill the batches: those are left out.
    """

    def __init__(self, policy: Policy, dataset_size: Optional[int], rank: int, world_size: int) -> None:
        if policy.images and policy.max_samples and world_size > 1:
            raise BadOptionError(
                "images and max_samples cannot be combined on several ranks, which do not know of one another's "
                "images; leave one out, or use one process"
            )
        self._policy, self._dataset_size = policy, dataset_size
        self._rank, self._world_size = rank, world_size
        self._seen = self._matched = 0

    def rows(self, size: int, names: Sequence[Sequence[str]]) -> List[int]:
        """The places, within the rank's next batch of `size` samples, of those that are kept.

        names: what globs may match, for each sample: its id, its path.
        """
        if self._policy.images and len(names) != size:
            raise BadOptionError(
                "the policy `images` needs names: call start_batch(number, sample_ids) before the model"
            )
        first, self._seen = self._seen, self._seen + size
        return [
            row
            for row in range(size)
            if self._keeps((first + row) * self._world_size + self._rank, names[row] if names else ())
        ]

    def kept(self) -> Optional[int]:
        """How many samples of the data set are kept over all ranks; None where that is not known yet."""
        if self._dataset_size is None or self._policy.images:
            return None
        kept = -(-self._dataset_size // self._policy.every)
        return min(kept, self._policy.max_samples or kept)

    def _keeps(self, position: int, names: Sequence[str]) -> bool:
        policy = self._policy
        if self._dataset_size is not None and position >= self._dataset_size:
            return False
        if position % policy.every:
            return False
        if not policy.images:
            return not policy.max_samples or position // policy.every < policy.max_samples
        if not self._matches(names):
            return False
        self._matched += 1
        return not policy.max_samples or self._matched <= policy.max_samples

    def _matches(self, names: Sequence[str]) -> bool:
        texts = {text for name in names for text in (name, PurePath(name).name)}
        return any(fnmatchcase(text, glob) for text in texts for glob in self._policy.images)


class Thinned(NamedTuple):
    """What a policy leaves of a tensor; the other fields as in `featscope.records.CapturedMap`.

    owned: the memory is not the model's.
    """

    tensor: torch.Tensor
    owned: bool
    reduced: str = ""
    channels: Optional[torch.Tensor] = None
    scales: Optional[torch.Tensor] = None


def thin(tensor: torch.Tensor, policy: Policy, rows: Optional[Sequence[int]] = None, layer: str = "") -> Thinned:
    """The part of a tensor that a policy keeps, worked out on its device and without waiting for it.

    >>> thin(torch.ones(1, 8, 2, 2), Policy(reduce="l2", dtype="float16")).tensor.shape
    torch.Size([1, 1, 2, 2])

    rows: places of the kept samples in the batch, None for all. Channels are the second axis of four;
    tensors of other forms keep theirs. layer: for the error.
    """
    original = tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if rows is not None:
        tensor = tensor[list(rows)]
    channels = scales = None
    reduced = ""
    if tensor.dim() == 4 and not tensor.is_complex():
        if policy.channels:
            tensor, channels = _choose_channels(tensor, policy.channels, layer)
        if policy.reduce:
            # As when it is reduced afterwards: in single precision where the map has less.
            wide = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
            tensor, reduced = REDUCTIONS[policy.reduce](wide), policy.reduce
    if tensor.is_floating_point() and policy.dtype:
        kind = DTYPES[policy.dtype]
        if kind is None:
            tensor, scales = _encode(tensor)
        else:
            tensor = tensor.to(kind)
    elif tensor.dtype is torch.bfloat16:
        tensor = tensor.float()
    strided = original.layout is torch.strided
    owned = not strided or original.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()
    return Thinned(tensor, owned, reduced, channels, scales)


def _choose_channels(tensor: torch.Tensor, choice: str, layer: str) -> Tuple[torch.Tensor, torch.Tensor]:
    kind, numbers = parse_channels(choice)
    if kind == "top":
        strength = tensor.float().abs().mean((2, 3)).nan_to_num(nan=-1.0, posinf=float("inf"))
        order = strength.argsort(stable=True, dim=1, descending=True)
        channels = order[:, : numbers[0]]
    else:
        there = [number for number in numbers if number < tensor.shape[1]]
        if not there:
            raise BadOptionError(
                f"{layer!r} has {tensor.shape[1]} channels and none of {choice!r}; "
                "choose others, or leave the layer out: '!" + layer + "'"
            )
        channels = torch.tensor(there, device=tensor.device).expand(len(tensor), -1)
    return _take_channels(tensor, channels), channels


def _take_channels(tensor: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    index = channels[:, :, None, None].expand(-1, -1, *tensor.shape[2:])
    return tensor.gather(1, index)


def _encode(tensor: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """8-bit codes, and the (2, N, C) values of code 0 and steps that turn them into values again."""
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
    step = high / STEPS - low / STEPS  # divided first: the range of large numbers may be more than a float holds
    safe = step.where(step > 0, step.new_ones(()))
    codes = (flat / safe[..., None] - (low / safe)[..., None]).round().clamp(0, STEPS)
    codes = codes.where(flat != infinity, codes.new_tensor(float(PLUS_INFINITY)))
    codes = codes.where(flat != -infinity, codes.new_tensor(float(MINUS_INFINITY)))
    codes = codes.where(~flat.isnan(), codes.new_tensor(float(NAN)))
    return codes.to(torch.uint8).reshape(tensor.shape), torch.stack([low, step])
