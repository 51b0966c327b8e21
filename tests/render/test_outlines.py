"""Outlines: where they lie, and how their pens differ."""

import numpy as np
import pytest

from featscope.render.outlines import CANDIDATE, OTHER, SUPPRESSOR, TRUE, draw_outlines, pen_sample
from featscope.render.painter import paint

SQUARE = np.array([[20.0, 20.0], [80.0, 20.0], [80.0, 80.0], [20.0, 80.0]])


def drawn(*pens, corners=SQUARE):
    return draw_outlines(np.full((100, 100, 3), 90, np.uint8), [(corners, pen) for pen in pens]).astype(int)


@pytest.mark.parametrize("pen", [TRUE, OTHER])
def test_a_solid_outline_closes_around_the_box(pen):
    image = drawn(pen)
    inked = (image != 90).any(-1)
    assert inked[20, 20:81].all()
    assert inked[80, 20:81].all()
    assert inked[20:81, 20].all()
    assert inked[20:81, 80].all()
    assert not inked[26:75, 26:75].any()


def share_of_colour(pen):
    line = drawn(pen)[20, 22:79]
    return (np.abs(line - pen.colour).sum(-1) < 60).mean()


def test_pens_differ_by_more_than_their_colour():
    assert share_of_colour(TRUE) == 1
    assert 0.45 < share_of_colour(CANDIDATE) < 0.8
    assert 0.2 < share_of_colour(SUPPRESSOR) < share_of_colour(CANDIDATE)


def test_the_first_outline_is_on_top():
    above, below = (drawn(*pens)[20, 22:79] for pens in ((CANDIDATE, TRUE), (TRUE, CANDIDATE)))
    assert (np.abs(above - CANDIDATE.colour).sum(-1) < 60).any()
    assert (below == 255).all()


def test_broken_corners_are_drawn_without_an_error():
    corners = np.array([[np.nan, 0], [np.inf, 5], [1e9, -1e9], [3, 3]])
    assert drawn(CANDIDATE, corners=corners).shape == (100, 100, 3)


def test_each_pen_has_another_sample():
    samples = [paint(pen_sample(pen)) for pen in (TRUE, CANDIDATE, SUPPRESSOR, OTHER)]
    assert len({sample.tobytes() for sample in samples}) == 4
    gaps = (np.abs(samples[1][7].astype(int) - CANDIDATE.colour).sum(-1) > 200).mean()
    assert 0.2 < gaps < 0.6
