"""Unpack arrays that are stored in fewer bytes: bfloat16, and 8-bit codes with a scale and a zero point per channel."""

from __future__ import annotations

from typing import Optional

import numpy as np
from numpy.typing import NDArray

BFLOAT16 = np.dtype("V2")
"""bfloat16 in a `.npy` file, as ml_dtypes writes it: an unnamed type of two bytes."""

STEPS = 252
"""Codes 0 to 252 stand for values. The rounding error is at most half a step, (max - min) / 504."""

MINUS_INFINITY, PLUS_INFINITY, NAN = 253, 254, 255
"""Codes for infinities and NaN."""


def unpack(array: NDArray[np.generic], scales: Optional[NDArray[np.floating]] = None) -> NDArray[np.generic]:
    """Return the values of a stored array. An array that is not packed is returned unchanged.

    >>> unpack(np.array([[0, 126, 252]], np.uint8), np.array([[[1.0]], [[0.5]]], np.float32)[:, 0]).tolist()
    [[1.0, 64.0, 127.0]]

    scales: (2, ...), the value of code 0 and the step between codes, for the array's first axes.
    """
    if array.dtype == BFLOAT16:
        bits = array.view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32)
    if scales is None:
        return array
    zero, step = (part.reshape(part.shape + (1,) * (array.ndim - part.ndim)) for part in scales)
    values = array * step.astype(np.float32)
    values += zero
    for code, value in ((MINUS_INFINITY, -np.inf), (PLUS_INFINITY, np.inf), (NAN, np.nan)):
        values[array == code] = value
    return values
