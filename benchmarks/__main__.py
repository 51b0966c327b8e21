"""Print the table: `python -m benchmarks [--only NAME] [--folder DIR]`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Dict, Tuple


def _machine() -> str:
    names = ["featscope", "numpy", "pillow", "isal", "torch", "matplotlib", "opencv-python"]
    names += [
        "onedl-mmengine",
        "onedl-mmdetection",
        "grad-cam",
        "torchlens",
        "activationscope",
        "distributed",
        "playwright",
        "shapely",
        "onedl-mmcv",
    ]
    found = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}; {', '.join(found)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        choices=[
            *("drawing", "writing", "hooking", "scaling", "capturing"),
            *("explaining", "following", "verifying", "viewing", "overlapping", "counting", "analysing"),
        ],
    )
    parser.add_argument("--images", type=int, default=200, help="images of the row about memory")
    parser.add_argument("--full", action="store_true", help="walk through 10,000 pictures in the viewer, not 1,000")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk that is written to")
    options = parser.parse_args()
    print(_machine(), end="\n\n", flush=True)
    print("| work | featscope | peer | ratio | at least | holds |\n|---|---|---|---|---|---|", flush=True)
    missed = 0

    def show(rows) -> None:
        nonlocal missed
        for row in rows:
            missed += not row.holds
            print("| " + " | ".join([*row[:5], "yes" if row.holds else "NO"]) + " |", flush=True)

    alone: Dict[str, Tuple[object, ...]] = {
        "drawing": (),
        "explaining": (),
        "following": (),
        "viewing": (options.folder, options.full),
    }
    for name, values in alone.items():
        if options.only in (None, name):
            show(import_module(f"benchmarks.{name}").rows(*values))
    if options.only not in alone:
        from benchmarks import capturing

        folder = capturing.temporary_folder(options.folder)
        try:
            if options.only in (None, "writing"):
                show(capturing.writing(folder, to_disk) for to_disk in (False, True))
            for name in ("hooking", "verifying", "overlapping", "counting", "analysing", "scaling"):
                if options.only in (None, name):
                    show(import_module(f"benchmarks.{name}").rows(folder))
            if options.only in (None, "capturing"):
                show(capturing.rows(folder, options.images))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
