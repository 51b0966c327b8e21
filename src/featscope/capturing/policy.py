"""Read and check a policy as users type it. This module does not import torch."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Union

import msgspec

from featscope.arrays.channels import parse_channels
from featscope.arrays.reduce import REDUCTIONS as DRAWN
from featscope.errors import BadOptionError, check_name, unknown_name
from featscope.records import Policy

DTYPES = ("float32", "float16", "bfloat16", "uint8")
REDUCTIONS = tuple(name for name, row in DRAWN.items() if row.on_capture)
"""Reductions of `featscope.arrays.reduce` that can be applied during a capture."""


def make_policy(values: Union[Policy, Mapping[str, Any], None]) -> Policy:
    """Make a policy from the values of a config or a call, and check it.

    >>> make_policy({"dtype": "float16", "channels": [0, 3]}).channels
    '0,3'

    Raises `BadOptionError` or `UnknownNameError` for invalid values.
    """
    if values is None:
        return Policy()
    if not isinstance(values, Policy):
        values = _converted(dict(values))
    if values.dtype:
        check_name("dtype", values.dtype, DTYPES, "featscope capture --help")
    if values.reduce:
        check_name("reduction on capture", values.reduce, REDUCTIONS, "featscope capture --help")
    if values.channels and parse_channels(values.channels)[0] not in ("list", "top"):
        raise BadOptionError(
            f"channels {values.channels!r} cannot be selected during a capture; type 0-15, 3,7 or top:16"
        )
    if values.every < 1 or values.max_samples < 0:
        raise BadOptionError(
            f"every={values.every}, max_samples={values.max_samples}: every must be at least 1, "
            "and max_samples at least 0 (all)"
        )
    return values


def _converted(given: Dict[str, Any]) -> Policy:
    """Make a policy of the values of a config, in all the forms in which people write them."""
    if isinstance(given.get("channels"), (list, tuple, range)):
        given["channels"] = ",".join(map(str, given["channels"]))
    if given.get("channels") == "all":
        given["channels"] = ""
    if isinstance(given.get("images"), str):
        given["images"] = [given["images"]]
    for name in given:
        if name not in Policy.__struct_fields__:
            raise unknown_name("policy", name, Policy.__struct_fields__, "featscope capture --help")
    try:
        return msgspec.convert(given, Policy)
    except msgspec.ValidationError as error:
        raise BadOptionError(f"the policy of the capture is wrong: {error}; see featscope capture --help") from None
