"""The table in Markdown: a summary, then a line a model."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, List, Sequence

INTRODUCTION = """# Axes, cells and strides, against the models' own libraries

Made by `tools/compare_layouts.py` and `tools/compare_places.py`. Every model has random weights and runs on two images
of noise, at its own size (at most 384 pixels where it takes that), at one that is no square, and at one that no stride
divides. The oracle is its own library: timm's `forward_intermediates`, transformers' `feature_maps` and hidden states,
the outputs of MMDetection's and torchvision's backbones, and of blocks what they give on the rows and columns that the
model passes along. The layers that give an oracle's values, in whatever order, are found by these values, captured, and
compared value for value, cell for cell.

- right: stored as (N, C, H, W) with every value in the oracle's cell. stride right: as the library names it, or as the
  number of cells grows with the image.
- refused: stored as it is, said to be no map, with the reason.
- wrong: drawn with other axes or cells. library wrong: the library puts the values in other cells than featscope, and
  their gradients at the input lie where featscope puts them.
- fixed size: the model takes no such size.
"""
VERDICTS = ("right", "refused", "wrong", "missing", "library wrong", "no layer")
HEADS = {"own": "its own size", "non-square": "no square", "undivided": "no stride divides it"}
MOST_REMARKS = 2


def print_tables(results: Sequence[dict], kinds: Sequence[str]) -> None:
    """Print the summary and all lines."""
    print(INTRODUCTION)
    libraries = list(dict.fromkeys(one["library"] for one in results))
    print("| library | size | models | maps right | refused | wrong | library wrong | stride right | unknown | wrong |")
    print("|---|---|---|---|---|---|---|---|---|---|")
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
        f"| {counts['library wrong']} | {strides['right']} | {strides['unknown']} | {strides['wrong']} |"
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
