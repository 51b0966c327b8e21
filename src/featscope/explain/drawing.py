"""Explanations as pictures and files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

from featscope.explain.explanation import Explanation
from featscope.explain.faithfulness import SHARES, Faithfulness
from featscope.records import Boxes, Picture
from featscope.render.curves import Panel, draw_curves
from featscope.render.heat import HeatStyle, draw_heat
from featscope.store.files import make_folder, npy_header, safe_name, write_atomic

STYLE = HeatStyle(reduce="channel:0", alpha=0.65, fade=True)


def draw_explanation(explanation: Explanation, image: Optional[Picture], folder: Path, classes: Sequence[str]) -> Path:
    """Draw a map over its image with its box, and keep its values beside it; returns the picture's file.

    image: the original, as the detector read it (`featscope.render.images.original_image`); without it the map is
    drawn alone. The files are FOLDER/<sample>/<box>_<class>_<method>_<layer>.png and .npy, (h, w) float32.
    """
    target, sample = explanation.target, explanation.sample
    name = classes[target.label] if target.label < len(classes) else str(target.label)
    number = f"box_{target.number}" if target.number >= 0 else "best_raw_score"
    layer = f"_{explanation.layer}_level_{explanation.level}" if explanation.layer else ""
    side = f"_{explanation.side}" if explanation.side else ""
    stem = safe_name(f"{number}_{name}_{explanation.method}{layer}{side}")
    place = folder / safe_name(sample.id)
    make_folder(place)
    source = target.source
    text = {
        "sample": sample.id,
        "layer": explanation.layer,
        "level": str(explanation.level),
        "method": explanation.method,
        "place": explanation.place.known if explanation.place is not None else "assumed",
        "explains": explanation.side or "score",
        "box": f"{number} {name} {target.score:.4f} " + " ".join(f"{value:.2f}" for value in target.box),
        "source": f"{source.kind} {source.index} of level {source.level}, row {source.row}, column {source.column}",
    }
    picture = draw_heat(
        explanation.heat[None],
        STYLE,
        image=image,
        geometry=explanation.geometry,
        stride=explanation.stride,
        first=explanation.first,
        value_range=(0.0, float(explanation.heat.max())),
        # Where the image lies in the input is not known for every detector; then the map has no place for boxes.
        boxes=[(Boxes(target.form, [target.box], [target.label], [target.score]), None)] if sample.geometry else [],
        classes=classes,
        min_score=0.0,
        text={key: value for key, value in text.items() if value},
    )
    write_atomic(place / f"{stem}.png", picture.png, shared=True)
    write_atomic(place / f"{stem}.npy", npy_header(explanation.heat) + explanation.heat.tobytes(), shared=True)
    return place / f"{stem}.png"


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
