"""Draw explanations and write them to files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from featscope.arrays.frames import scaled, scaled_boxes
from featscope.arrays.normalise import Quantised
from featscope.explaining.explanation import Explanation
from featscope.explaining.faithfulness import SHARES, Faithfulness
from featscope.records import Boxes, Picture
from featscope.render.caption import Caption, frame, framed, under_title
from featscope.render.curves import Panel, draw_curves
from featscope.render.heat import HeatStyle, draw_heat, seen_ramp
from featscope.render.panels import in_rows
from featscope.render.png import encode_rgb
from featscope.store.files import make_folder, npy_header, safe_name, write_atomic
from featscope.words import counted

STYLE = HeatStyle(reduce="channel:0", alpha=0.65, fade=True)

_LONGEST_OF_PANEL = 480  # pixels of the longer side of each map of a panel
_LETTERS = 16  # pixels, in a panel


def picture_of(explanation: Explanation) -> Picture:
    """Draw the map over its image with its box, (H, W, 3) RGB."""
    return _pixels(png_of(explanation))


def write_explanation(explanation: Explanation, folder: Path) -> Path:
    """Write the picture of a map over its image with its box, and its values. Returns the path of the picture.

    The files are FOLDER/<sample>/<box>_<class>_<method>_<layer>.png and .npy, (h, w) float32.
    """
    layer = f"_{explanation.layer}_level_{explanation.level}" if explanation.layer else ""
    side = f"_{explanation.side}" if explanation.side else ""
    stem = safe_name(f"{_words(explanation)}_{explanation.method}{layer}{side}")
    place = folder / safe_name(explanation.sample.id)
    make_folder(place)
    write_atomic(place / f"{stem}.png", png_of(explanation), shared=True)
    write_atomic(place / f"{stem}.npy", npy_header(explanation.heat) + explanation.heat.tobytes(), shared=True)
    return place / f"{stem}.png"


def write_panels(explanations: Sequence[Explanation], folder: Path, least: int = 2) -> List[Path]:
    """Draw the maps of several methods for each box side by side: FOLDER/<sample>/<box>_<class>_methods_<layer>.png.

    A box with fewer than `least` maps has no panel. Returns the files.
    """
    boxes: Dict[Tuple[str, int, int], List[Explanation]] = {}
    for one in explanations:
        boxes.setdefault((one.sample.id, one.target.number, one.target.label), []).append(one)
    written = []
    for several in boxes.values():
        if len(several) < least:
            continue
        layers = dict.fromkeys(one.layer for one in several if one.layer)
        side = f"_{several[0].side}" if several[0].side else ""
        stem = safe_name("_".join([_words(several[0]), "methods", *layers]) + side)
        path = folder / safe_name(several[0].sample.id) / f"{stem}.png"
        make_folder(path.parent)
        write_atomic(path, draw_panel(several), shared=True)
        written.append(path)
    return written


def draw_panel(explanations: Sequence[Explanation]) -> bytes:
    """Draw the maps of several methods for one box side by side, with one title and one scale."""
    first = explanations[0]
    names = [Caption(f"{one.method}{_level(one, explanations)}", "") for one in explanations]
    maps = [_pixels(png_of(one, _LONGEST_OF_PANEL)) for one in explanations]
    inside = in_rows([under_title(drawn, name, _LETTERS) for name, drawn in zip(names, maps)])
    layers = dict.fromkeys(f"{one.layer} level {one.level}" for one in explanations if one.layer)
    what = _words(first, " ", " ") + (f" {first.target.score:.2f}" if first.target.source.kind != "image" else "")
    about = "it" if first.target.source.kind == "image" else f"its {first.side}" if first.side else "its score"
    title = "  ·  ".join([what, *(layers if len(layers) == 1 else ()), first.sample.id])
    caption = Caption(
        title, f"what made {about}, by {counted(len(explanations), 'method')}", ("nothing", "the most in each map")
    )
    scale = Quantised(np.zeros((1, 1), np.uint8), 0.0, high=1.0, nan=0, inf=0, constant=False)
    drawn = framed(inside, frame(inside.shape[1], caption, scale, letters=_LETTERS + 2), seen_ramp(STYLE))
    methods = ",".join(one.method for one in explanations)
    return encode_rgb(drawn, {"sample": first.sample.id, "box": what, "methods": methods})


def _level(one: Explanation, all_of_them: Sequence[Explanation]) -> str:
    """Name the layer and level if the maps are of several."""
    layers = {(other.layer, other.level) for other in all_of_them if other.layer}
    return f"  ·  {one.layer} level {one.level}" if one.layer and len(layers) > 1 else ""


def _pixels(picture: bytes) -> Picture:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def _words(explanation: Explanation, between: str = "_", inside: str = "_") -> str:
    """Name the target for a file: 'target', 'box_12_ship' or 'best_raw_score_ship'."""
    target = explanation.target
    if target.source.kind == "image":
        return "target"
    what = f"box_{target.number}" if target.number >= 0 else "best_raw_score"
    return what.replace("_", inside) + between + explanation.label


def png_of(explanation: Explanation, longest: int = 0) -> bytes:
    """Draw the map over its image with its box, as the bytes of a PNG. Its metadata says what it explains.

    longest: the most pixels of the picture's longer side; 0 for the size of the image.
    """
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
    boxes: List[Tuple[Boxes, Optional[str]]] = [] if of_all or sample.geometry is None else [(explanation.box, None)]
    image, geometry, size = explanation.image, explanation.geometry, explanation.geometry.original
    if longest and image is not None and max(size) > longest:
        smaller = (max(1, round(size[0] * longest / max(size))), max(1, round(size[1] * longest / max(size))))
        image = np.asarray(Image.fromarray(image).resize(smaller[::-1], Image.Resampling.BOX))
        boxes = [(scaled_boxes(box, smaller[0] / size[0], smaller[1] / size[1]), colour) for box, colour in boxes]
        geometry = scaled(geometry, smaller)
    return draw_heat(
        explanation.heat[None],
        STYLE,
        image=image,
        geometry=geometry,
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
        ("deletion: lower is better", "deletion_curve"),
        ("insertion: higher is better", "insertion_curve"),
    ):
        curves = {m: np.mean([getattr(r, which) for r in results if r.method == m], 0).tolist() for m in methods}
        panels.append(Panel(title, curves))
    labels = [f"{100 * share:g}" for share in SHARES]
    write_atomic(folder / "faithfulness.png", draw_curves(panels, labels, "% of the image, most important first"))
