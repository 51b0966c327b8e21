"""Print the table: `python -m benchmarks [--only NAME] [--folder DIR]`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _machine() -> str:
    names = ["featscope", "numpy", "pillow", "isal", "torch", "matplotlib", "opencv-python"]
    names += ["onedl-mmengine", "onedl-mmdetection", "grad-cam", "torchlens", "activationscope", "distributed"]
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
        choices=["drawing", "writing", "hooking", "scaling", "capturing", "explaining", "following", "verifying"],
    )
    parser.add_argument("--images", type=int, default=200, help="images of the row about memory")
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

    if options.only in (None, "drawing"):
        from benchmarks import drawing

        show(drawing.rows())
    if options.only in (None, "explaining"):
        from benchmarks import explaining

        show(explaining.rows())
    if options.only in (None, "following"):
        from benchmarks import following

        show(following.rows())
    if options.only not in ("drawing", "explaining", "following"):
        from benchmarks import capturing, hooking, scaling, verifying

        folder = capturing.temporary_folder(options.folder)
        try:
            if options.only in (None, "writing"):
                show(capturing.writing(folder, to_disk) for to_disk in (False, True))
            if options.only in (None, "hooking"):
                show(hooking.rows(folder))
            if options.only in (None, "verifying"):
                show(verifying.rows(folder))
            if options.only in (None, "scaling"):
                show(scaling.rows(folder))
            if options.only in (None, "capturing"):
                show(capturing.rows(folder, options.images))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
