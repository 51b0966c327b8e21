"""Boxes over a picture: straight or rotated, with class and score."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from featscope.arrays.boxes import corners_of
from featscope.records import Boxes
from featscope.render.colour import CLASS_COLOURS
from featscope.render.fonts import font_of, readable

LARGEST_LETTERS = 200
"""Pixels: a picture a million pixels long has no letters that are as large in proportion."""

_FAR = 1e5  # pixels


LABELS = ("score", "class", "none", "all")
"""What is written at boxes: class and score where there is room (`score`), the class there, nothing, or class and
score at every box."""

_SMALLEST_LETTERS = 11


def draw_boxes(
    picture: Image.Image,
    boxes: Boxes,
    classes: Sequence[str] = (),
    min_score: float = 0.3,
    colour: Optional[str] = None,
    labels: str = "score",
) -> None:
    """Draw boxes onto an RGB picture, the best last.

    Boxes below `min_score` are left out; boxes without scores (ground truth) are all drawn, without text. labels: one
    of `LABELS`; but for `all`, a box much smaller than its text has its colour only, and so has one whose text would
    cover that of a better one.
    """
    draw = ImageDraw.Draw(picture)
    line = min(max(1, round(max(picture.size) / 450)), LARGEST_LETTERS)
    letters = min(max(_SMALLEST_LETTERS, round(max(picture.size) / 64)), LARGEST_LETTERS)
    scores = boxes.scores or [1.0] * len(boxes.boxes)
    # A detector that fails finds boxes light years away; what is far outside is drawn as outside.
    shapes = np.nan_to_num(corners_of(boxes.form, boxes.boxes)).clip(-_FAR, _FAR)
    order = [i for i in np.argsort(scores, kind="stable") if scores[i] >= min_score]
    paints = [colour or CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in boxes.labels]
    for i in order:
        outline = [(float(x), float(y)) for x, y in shapes[i]]
        # A dark line below keeps the box visible on bright ground.
        draw.line([*outline, outline[0]], fill=(0, 0, 0), width=line + 2, joint="curve")
        draw.line([*outline, outline[0]], fill=paints[i], width=line, joint="curve")
    if not boxes.scores or labels == "none":
        return
    taken: List[Tuple[float, float, float, float]] = []
    for i in reversed(order):
        label = boxes.labels[i]
        name = readable(classes[label], f"class {label}") if label < len(classes) else str(label)
        text = name if labels == "class" else f"{name} {scores[i]:.2f}".strip()
        font = font_of(letters, text)
        left, top = shapes[i][np.argmin(shapes[i][:, 1])]
        bounds = draw.textbbox((0, 0), text, font=font)
        width, height = bounds[2] + 4, bounds[3] + 3
        if labels != "all" and np.ptp(shapes[i], 0).max() < 0.6 * width:
            continue
        left = min(max(0.0, left - width / 2), max(0.0, picture.width - width))
        top = min(max(0.0, top - height - line), max(0.0, picture.height - height))
        right, bottom = left + width, top + height
        # In a crowd only the best keep their text: labels on labels cannot be read.
        if labels != "all" and any(left < t[2] and t[0] < right and top < t[3] and t[1] < bottom for t in taken):
            continue
        taken.append((left, top, right, bottom))
        draw.rectangle([left, top, right, bottom], fill=paints[i])
        draw.text((left + 2, top + 1), text, fill=(0, 0, 0), font=font)
