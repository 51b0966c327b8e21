"""The table in Markdown: a summary, then a line a model."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, List, Sequence

VERDICTS = ("right", "refused", "wrong", "missing", "no layer")
HEADS = {"own": "its own size", "non-square": "no square", "undivided": "no stride divides it"}
MOST_REMARKS = 2


def print_tables(results: Sequence[dict], kinds: Sequence[str]) -> None:
    """Print the summary and all lines."""
    libraries = list(dict.fromkeys(one["library"] for one in results))
    print("| library | size | models | maps right | refused | wrong | stride right | unknown | wrong |")
    print("|---|---|---|---|---|---|---|---|---|")
    for library in libraries:
        for kind in kinds:
            print(_summary(library, kind, [one for one in results if one["library"] == library]))
    for library in libraries:
        print(f"\n## {library}\n\n| family | model | {' | '.join(HEADS[kind] for kind in kinds)} | remarks |")
        print("|---|---|" + "---|" * len(kinds) + "---|")
        for one in results:
            if one["library"] == library:
                print(_line(one, kinds))


def _summary(library: str, kind: str, results: List[dict]) -> str:
    found = [one["sizes"][kind] for one in results if one["sizes"].get(kind)]
    counts: Counter = sum((Counter(one["counts"]) for one in found), Counter())
    strides: Counter = sum((Counter(one["strides"]) for one in found), Counter())
    wrong = counts["wrong"] + counts["missing"]
    return (
        f"| {library} | {HEADS[kind]} | {len(found)} | {counts['right']} | {counts['refused']} | {wrong} "
        f"| {strides['right']} | {strides['unknown']} | {strides['wrong']} |"
    )


def _line(one: dict, kinds: Sequence[str]) -> str:
    cells = [_cell(one["sizes"], kind) for kind in kinds]
    found = [one["sizes"].get(kind) or {"remarks": []} for kind in kinds]
    remarks = list(dict.fromkeys(remark for size in found for remark in size["remarks"]))
    shown = "; ".join(remarks[:MOST_REMARKS]) + (
        f"; {len(remarks) - MOST_REMARKS} more" if remarks[MOST_REMARKS:] else ""
    )
    text = one.get("error") or shown
    return f"| {one['family']} | {one['name']} | {' | '.join(cells)} | {_plain(text)} |"


def _cell(sizes: Dict[str, dict], kind: str) -> str:
    if kind not in sizes:
        return ""
    if sizes[kind] is None:
        return "fixed size"
    found = sizes[kind]
    parts = [f"{found['counts'][name]} {name}" for name in VERDICTS if found["counts"].get(name)]
    strides = [f"stride {name} {found['strides'][name]}" for name in ("wrong", "unknown") if found["strides"].get(name)]
    return f"{found['size'][0]} x {found['size'][1]}: {', '.join([*parts, *strides]) or 'no maps'}"


def _plain(text: str) -> str:
    return text.replace("|", "/")


def reason(error: Exception) -> str:
    """Why a model could not be tried, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text)  # paths of this machine are nobody's business
    return f"{type(error).__name__}: {text[:150]}"
