"""Docstrings become Markdown: examples are code blocks, what is said of the parameters is a list."""

from __future__ import annotations

import re
from typing import Any, List, Sequence

import griffe


def fenced(text: str) -> str:
    """The text with its doctests in fences, without the comments that steer them."""
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


def listed(text: str, names: Sequence[str]) -> str:
    """The text with an item of a list for each name that begins a sentence and has a colon behind it."""
    if not names:
        return text
    one = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    item = re.compile(rf"(?:^|(?<=[.;)] ))((?:{one})(?:, (?:{one}))*): ")
    blocks: List[str] = []
    for block in re.split(r"(```pycon\n.*?```)", text, flags=re.DOTALL):
        if block.startswith("```"):
            blocks.append(block)
            continue
        paragraphs = [" ".join(paragraph.split()) for paragraph in block.split("\n\n")]
        blocks.append(
            "\n\n".join(item.sub(r"\n- **\1**: ", paragraph).replace(" \n", "\n").strip() for paragraph in paragraphs)
        )
    return "\n\n".join(blocks).strip()


def escaped(text: str) -> str:
    """Stars outside of code as they are: in a glob they would make Markdown's emphasis."""
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    return "".join(part if part.startswith("`") else part.replace("*", r"\*") for part in parts)


def _names(read: griffe.Object) -> List[str]:
    """Of a function its parameters, of a class its fields."""
    if isinstance(read, griffe.Function):
        return [parameter.name.lstrip("*") for parameter in read.parameters]
    return list(read.attributes) if isinstance(read, griffe.Class) else []


class Doctests(griffe.Extension):
    """Changes each docstring when it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """griffe's event: an object was read."""
        if obj.docstring:
            obj.docstring.value = listed(escaped(fenced(obj.docstring.value)), _names(obj))
