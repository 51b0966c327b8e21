"""Compare what featscope says of a layer's axes, cells and stride with what the model's own library says.

    python tools/compare_layouts.py timm torchvision transformers mmdet --results build/layouts > docs/layouts.md

Each model is made with random weights and run on noise at its own size, at one that is no square, and at one that no
stride divides. Its library's own maps (timm's `forward_intermediates`, transformers' `feature_maps`, a backbone's
output) are the oracle: the layers that give them are found by their values, captured with `featscope.capture`, and
compared value for value and cell for cell. What is done is kept in the results' folder, a file a family, and not done
again. `--only swin` takes the families or models that have this in their names.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import re
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Dict, Iterator, List

from layouts.cases import Case, Family
from layouts.judge import judge_case
from layouts.table import print_tables, reason

LIBRARIES = ("timm", "torchvision", "transformers", "mmdet")
KINDS = ("own", "non-square", "undivided")
SECONDS = 600  # of a model


def families(libraries: List[str], only: str) -> Iterator[Family]:
    """All families of these libraries, one after the other."""
    for library in libraries:
        for family in importlib.import_module(f"layouts.of_{library}").families():
            if re.search(only, family.name):
                yield family


def try_family(family: Family) -> Dict[str, object]:
    """What was found of a family's model, as plain values."""
    started = time.perf_counter()
    found: Dict[str, object] = {"library": family.library, "family": family.name, "name": "", "sizes": {}}
    signal.alarm(SECONDS)
    try:
        case = family.open()
        found["name"] = case.name
        found["sizes"] = sizes = {}
        for kind in KINDS:
            sizes[kind] = _judged(case, kind)
    except Exception as error:  # noqa: BLE001 (the table names it)
        found["error"] = reason(error)
    finally:
        signal.alarm(0)
    found["seconds"] = round(time.perf_counter() - started, 1)
    return found


def _judged(case: Case, kind: str) -> object:
    judged = judge_case(case, kind)
    gc.collect()
    if judged is None:
        return None
    return {
        "size": judged.size,
        "counts": dict(judged.counts),
        "strides": dict(judged.strides),
        "remarks": judged.remarks,
    }


def main() -> None:
    """Try what was not tried yet, then print all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("libraries", nargs="*", default=list(LIBRARIES))
    parser.add_argument("--results", type=Path, default=Path("build/layouts"))
    parser.add_argument("--only", default="", help="a regular expression for families")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_long)
    options.results.mkdir(parents=True, exist_ok=True)
    results = []
    for family in families(options.libraries, options.only):
        kept = options.results / (re.sub(r"\W+", "-", f"{family.library}-{family.name}") + ".json")
        if not kept.exists():
            found = try_family(family)
            print(json.dumps(found), file=sys.stderr, flush=True)
            kept.write_text(json.dumps(found))
            gc.collect()
        results.append(json.loads(kept.read_text()))
    print_tables(results, KINDS)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {SECONDS} s")


if __name__ == "__main__":
    main()
