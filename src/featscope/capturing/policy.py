"""What of a batch is kept: a policy as users type it. Needs no torch."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Union

import msgspec

from featscope.arrays.channels import parse_channels
from featscope.errors import BadOptionError, check_name, unknown_name
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
        values = _converted(dict(values))
    if values.dtype:
        check_name("dtype", values.dtype, DTYPES, "featscope capture --help")
    if values.reduce:
        check_name("reduction on capture", values.reduce, REDUCTIONS, "featscope capture --help")
    if values.channels and parse_channels(values.channels)[0] not in ("list", "top"):
        raise BadOptionError(f"channels {values.channels!r} cannot be kept on capture; type 0-15, 3,7 or top:16")
    if values.every < 1 or values.max_samples < 0:
        raise BadOptionError(
            f"every={values.every}, max_samples={values.max_samples}: every starts at 1, max_samples at 0 (all)"
        )
    return values


def _converted(given: Dict[str, Any]) -> Policy:
    """A policy from the values of a config, in the forms that people write them in."""
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
        raise BadOptionError(f"a policy of capture is wrong: {error}; see featscope capture --help") from None
