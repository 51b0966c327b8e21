"""What should be known of a capture, said once each."""

from __future__ import annotations

import warnings
from typing import List


class Remarks:
    """Says things once: as a warning at the time, and in a list for the end.

    >>> remarks = Remarks()
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     for _ in range(2):
    ...         remarks.say("the disk is slow")
    >>> remarks.said, len(heard)
    (['the disk is slow'], 1)
    """

    def __init__(self) -> None:
        self.said: List[str] = []

    def say(self, text: str) -> None:
        """Say something, if it was not said before."""
        if text not in self.said:
            self.said.append(text)
            warnings.warn(f"featscope: {text}", RuntimeWarning, stacklevel=3)


def first_line(error: BaseException) -> str:
    """What an error of somebody else's code says, short.

    >>> first_line(ValueError("no channels"))
    'ValueError: no channels'
    """
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
