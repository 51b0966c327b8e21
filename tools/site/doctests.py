"""Examples in docstrings become code blocks: griffe would leave `>>>` to Markdown, which reads quotations in it."""

from __future__ import annotations

import re
from typing import Any, List

import griffe


def fenced(text: str) -> str:
    """The text with its doctests in fences, without the comments that steer them.

    >>> print(fenced("Add.\\n\\n>>> 1 + 1   # doctest: +SKIP\\n2\\n\\nMore."))
    Add.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    More.
    """
    lines: List[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(re.sub(r"\s*# doctest:.*", "", line))
    return "\n".join([*lines, "```"] if inside else lines)


class Doctests(griffe.Extension):
    """Changes each docstring when it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """griffe's event: an object was read."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
