"""What is written at boxes."""

import numpy as np
import pytest
from PIL import Image

from featscope.records import Boxes
from featscope.render import boxes as drawing
from featscope.render.boxes import draw_boxes
from featscope.render.colour import CLASS_COLOURS

TWO = Boxes("xyxy", [[20, 60, 180, 120], [24, 66, 184, 126]], [0, 0], [0.9, 0.8])
SMALL = Boxes("xyxy", [[100, 100, 104, 104]], [0], [0.9])


def _written(found, labels, classes=("harbour",)):
    """How many pixels are the ground of a text."""
    picture = Image.new("RGB", (300, 200))
    draw_boxes(picture, found, classes, 0.3, None, labels)
    bare = Image.new("RGB", (300, 200))
    draw_boxes(bare, found, classes, 0.3, None, "none")
    changed = (np.asarray(picture) != np.asarray(bare)).any(-1)
    return int((changed & (np.asarray(picture) == CLASS_COLOURS[0]).all(-1)).sum())


def test_nothing_is_written_at_none():
    assert _written(TWO, "none") == 0


def test_a_class_takes_less_room_than_class_and_score():
    assert 0 < _written(TWO, "class") < _written(TWO, "score")


@pytest.mark.parametrize("found", [TWO, SMALL])
def test_all_writes_where_score_leaves_out(found):
    """A text on a text, and one that is larger than its box."""
    assert _written(found, "all") > _written(found, "score")


def test_a_name_that_no_font_has_is_its_number(monkeypatch):
    seen = []
    monkeypatch.setattr(drawing, "readable", lambda name, instead: seen.append((name, instead)) or instead)
    _written(TWO, "score", ("\u8239",))
    assert seen[0] == ("\u8239", "class 0")
