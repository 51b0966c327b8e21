"""Boxes over a picture: straight or rotated, with class and score."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from featscope.arrays.boxes import corners_of
from featscope.records import Boxes
from featscope.render.colour import CLASS_COLOURS

LARGEST_LETTERS = 200
"""Pixels: a picture a million pixels long has no letters that are as large in proportion."""

_FAR = 1e5  # pixels


def draw_boxes(
    picture: Image.Image,
    boxes: Boxes,
    classes: Sequence[str] = (),
    min_score: float = 0.3,
    colour: Optional[str] = None,
) -> None:
    """Draw boxes onto an RGB picture, the best last.

    Boxes below `min_score` are left out; boxes without scores (ground truth) are all drawn, without
    text. A box much smaller than its text has its colour only.
    """
    draw = ImageDraw.Draw(picture)
    line = min(max(1, round(max(picture.size) / 500)), LARGEST_LETTERS)
    font = ImageFont.load_default(min(max(10, round(max(picture.size) / 70)), LARGEST_LETTERS))
    scores = boxes.scores or [1.0] * len(boxes.boxes)
    # A detector that fails finds boxes light years away; what is far outside is drawn as outside.
    shapes = np.nan_to_num(corners_of(boxes.form, boxes.boxes)).clip(-_FAR, _FAR)
    order = [i for i in np.argsort(scores, kind="stable") if scores[i] >= min_score]
    for i in order:
        paint = colour or CLASS_COLOURS[boxes.labels[i] % len(CLASS_COLOURS)]
        outline = [(float(x), float(y)) for x, y in shapes[i]]
        # A dark line below keeps the box visible on bright ground.
        draw.line([*outline, outline[0]], fill=(0, 0, 0), width=line + 2, joint="curve")
        draw.line([*outline, outline[0]], fill=paint, width=line, joint="curve")
    if not boxes.scores:
        return
    taken: List[Tuple[float, float, float, float]] = []
    for i in reversed(order):
        paint = colour or CLASS_COLOURS[boxes.labels[i] % len(CLASS_COLOURS)]
        label = boxes.labels[i]
        name = classes[label] if label < len(classes) else str(label)
        text = f"{name} {scores[i]:.2f}"
        left, top = shapes[i][np.argmin(shapes[i][:, 1])]
        bounds = draw.textbbox((0, 0), text, font=font)
        width, height = bounds[2] + 4, bounds[3] + 3
        if np.ptp(shapes[i], 0).max() < 0.6 * width:
            continue
        left = min(max(0.0, left - width / 2), max(0.0, picture.width - width))
        top = min(max(0.0, top - height - line), max(0.0, picture.height - height))
        right, bottom = left + width, top + height
        # In a crowd only the best keep their text: labels on labels cannot be read.
        if any(left < t[2] and t[0] < right and top < t[3] and t[1] < bottom for t in taken):
            continue
        taken.append((left, top, right, bottom))
        draw.rectangle([left, top, right, bottom], fill=paint)
        draw.text((left + 2, top + 1), text, fill=(0, 0, 0), font=font)
