"""What of a batch is kept: a policy as users type it, and the samples that it keeps. Needs no torch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, List, Mapping, Optional, Sequence, Union

import msgspec

from featscope.arrays.channels import parse_channels
from featscope.errors import BadOptionError, unknown_name
from featscope.records import Policy

DTYPES = ("float32", "float16", "bfloat16", "uint8")
REDUCTIONS = ("mean", "absmean", "max", "l2", "std", "select_max")
"""Those of `featscope.arrays.reduce` that are worked out on capture."""


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
