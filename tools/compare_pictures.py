"""Compare featscope's default pictures with those of mmengine, grad-cam and torch-cam, on the same feature maps.

    python tools/compare_pictures.py --shared ../shared --work build/pictures

Captures the models of `pictures/subjects.py` on images with labels, measures how much of each picture's heat lies
inside the labelled boxes, and writes docs/pictures.md with its pictures. In docs/images only images that may be
published are shown; `--work` gets the pictures of all models, over their photos. It needs the environment with
MMDetection, grad-cam and torch-cam (tools/environment.sh).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, List

from pictures.energy import Row, measure
from pictures.page import page
from pictures.sheets import write_sheets
from pictures.subjects import captured, subjects


def main() -> None:
    """Capture, measure, draw, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="the folder with models and data")
    parser.add_argument("--work", type=Path, default=Path("build/pictures"), help="for runs and all pictures")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the page is written")
    options = parser.parse_args()
    measured: Dict[str, List[Row]] = {}
    words, sheets = {}, {}
    for subject in subjects(options.shared):
        run = captured(subject, options.work)
        measured[subject.name], words[subject.name] = measure(run), subject.words
        write_sheets(subject, run, options.work / "sheets")
        if subject.free:
            sheets[subject.name] = write_sheets(subject, run, options.docs / "images" / "pictures")
        for row in measured[subject.name]:
            print(subject.name, row.layer, row.level, {name: round(value, 2) for name, value in row.energies.items()})
    (options.docs / "pictures.md").write_text(page(measured, words, sheets), encoding="utf-8")


if __name__ == "__main__":
    main()
