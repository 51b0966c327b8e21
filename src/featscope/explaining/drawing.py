"""Draw explanations and write them to files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from PIL import Image

from featscope.explaining.explanation import Explanation
from featscope.explaining.faithfulness import SHARES, Faithfulness
from featscope.records import Picture
from featscope.render.curves import Panel, draw_curves
from featscope.render.heat import HeatStyle, draw_heat
from featscope.store.files import make_folder, npy_header, safe_name, write_atomic

STYLE = HeatStyle(reduce="channel:0", alpha=0.65, fade=True)


def picture_of(explanation: Explanation) -> Picture:
    """Draw the map over its image with its box, (H, W, 3) RGB."""
    return np.asarray(Image.open(io.BytesIO(_drawn(explanation))).convert("RGB"))


def write_explanation(explanation: Explanation, folder: Path) -> Path:
    """Write the picture of a map over its image with its box, and its values. Returns the path of the picture.

    The files are FOLDER/<sample>/<box>_<class>_<method>_<layer>.png and .npy, (h, w) float32.
    """
    layer = f"_{explanation.layer}_level_{explanation.level}" if explanation.layer else ""
    side = f"_{explanation.side}" if explanation.side else ""
    stem = safe_name(f"{_words(explanation)}_{explanation.method}{layer}{side}")
    place = folder / safe_name(explanation.sample.id)
    make_folder(place)
    write_atomic(place / f"{stem}.png", _drawn(explanation), shared=True)
    write_atomic(place / f"{stem}.npy", npy_header(explanation.heat) + explanation.heat.tobytes(), shared=True)
    return place / f"{stem}.png"


def _words(explanation: Explanation, between: str = "_") -> str:
    """Name the target for a file: 'target', 'box_12_ship' or 'best_raw_score_ship'."""
    target = explanation.target
    if target.source.kind == "image":
        return "target"
    return (f"box_{target.number}" if target.number >= 0 else "best_raw_score") + between + explanation.label


def _drawn(explanation: Explanation) -> bytes:
    target, sample, source = explanation.target, explanation.sample, explanation.target.source
    of_all = source.kind == "image"  # an image target has no box
    numbers = "" if of_all else " " + " ".join(f"{value:.2f}" for value in target.box)
    text = {
        "sample": sample.id,
        "layer": explanation.layer,
        "level": str(explanation.level),
        "method": explanation.method,
        "place": explanation.place.known if explanation.place is not None else "assumed",
        "explains": explanation.side or "score",
        "box": f"{_words(explanation, ' ')} {target.score:.4f}{numbers}",
        "source": f"{source.kind} {source.index} of level {source.level}, row {source.row}, column {source.column}",
    }
    # For some detectors the geometry is unknown, so boxes cannot be drawn.
    boxes = [] if of_all or sample.geometry is None else [(explanation.box, None)]
    return draw_heat(
        explanation.heat[None],
        STYLE,
        image=explanation.image,
        geometry=explanation.geometry,
        stride=explanation.stride,
        first=explanation.first,
        value_range=(0.0, float(explanation.heat.max())),
        boxes=boxes,
        classes=[*[""] * target.label, explanation.label],
        min_score=0.0,
        text={key: value for key, value in text.items() if value},
    ).png


def write_faithfulness(results: Sequence[Faithfulness], rows: Sequence[Tuple[object, ...]], folder: Path) -> None:
    """Write the table as faithfulness.csv, and the mean curves as faithfulness.png."""
    make_folder(folder)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["method", "size", "boxes", "pointing", "energy", "deletion", "insertion"])
    writer.writerows(rows)
    write_atomic(folder / "faithfulness.csv", text.getvalue().encode())
    methods = list(dict.fromkeys(result.method for result in results))
    panels: List[Panel] = []
    for title, which in (
        ("deletion: less is better", "deletion_curve"),
        ("insertion: more is better", "insertion_curve"),
    ):
        curves = {m: np.mean([getattr(r, which) for r in results if r.method == m], 0).tolist() for m in methods}
        panels.append(Panel(title, curves))
    labels = [f"{100 * share:g}" for share in SHARES]
    write_atomic(folder / "faithfulness.png", draw_curves(panels, labels, "% of the image, most important first"))
