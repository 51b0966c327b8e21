"""Draw boxes onto a picture: straight or rotated, with class and score."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from featscope.arrays.boxes import corners_of
from featscope.records import Boxes
from featscope.render.colour import CLASS_COLOURS
from featscope.render.fonts import font_of, readable

LARGEST_LETTERS = 200
"""The largest height of letters in pixels, so that an extremely long picture does not get huge letters."""

_FAR = 1e5  # pixels; coordinates are clipped to this


LABELS = ("score", "class", "none", "all")
"""What is written at the boxes: class and score where there is room (`score`), only the class where there is room,
nothing, or class and score at every box."""

_SMALLEST_LETTERS = 11  # pixels


def draw_boxes(
    picture: Image.Image,
    boxes: Boxes,
    classes: Sequence[str] = (),
    min_score: float = 0.3,
    colour: Optional[str] = None,
    labels: str = "score",
) -> None:
    """Draw boxes onto an RGB picture, the best ones last, so that they are on top.

    Boxes with a score below `min_score` are left out. Boxes without scores (ground truth) are all drawn, without text.
    colour: of all boxes; None gives each class its own colour. labels: one of `LABELS`. Except with `all`, a box gets
    no text if it is much smaller than the text, or if the text would overlap that of a box with a higher score.
    """
    draw = ImageDraw.Draw(picture)
    line = min(max(1, round(max(picture.size) / 450)), LARGEST_LETTERS)
    letters = min(max(_SMALLEST_LETTERS, round(max(picture.size) / 64)), LARGEST_LETTERS)
    scores = boxes.scores or [1.0] * len(boxes.boxes)
    # A broken detector may give huge or NaN coordinates, so clip them to something that Pillow can draw.
    shapes = np.nan_to_num(corners_of(boxes.form, boxes.boxes)).clip(-_FAR, _FAR)
    order = [i for i in np.argsort(scores, kind="stable") if scores[i] >= min_score]
    paints = [colour or CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in boxes.labels]
    for i in order:
        outline = [(float(x), float(y)) for x, y in shapes[i]]
        # A dark line underneath keeps the box visible on a bright background.
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
        # In a crowd only the best boxes get text, because overlapping labels are unreadable.
        if labels != "all" and any(left < t[2] and t[0] < right and top < t[3] and t[1] < bottom for t in taken):
            continue
        taken.append((left, top, right, bottom))
        draw.rectangle([left, top, right, bottom], fill=paints[i])
        draw.text((left + 2, top + 1), text, fill=(0, 0, 0), font=font)
