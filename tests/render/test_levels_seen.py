"""Which level saw which objects: colours of the shares, marks of what is unknown, sizes by level."""

import numpy as np
import pytest
from conftest import pixels

from featscope.errors import BadArrayError
from featscope.render.colour import palette
from featscope.render.levels_seen import _BAR, LevelsSeen, SeenCell, SizeRange, draw_levels_seen
from featscope.render.matrix import NOTHING

FULL = 51 * 51
"""Pixels of a cell."""


def drawn(*cells, ranges=(), edges=()):
    columns = [("neck", str(level)) for level in range(len(cells))]
    return pixels(draw_levels_seen(LevelsSeen([("small", "missed (9)")], columns, [list(cells)], ranges, edges)).png())


def count(image, colour):
    return int((image == np.array(colour)).all(-1).sum())


@pytest.mark.parametrize(("present", "index"), [(0, 0), (5, 64), (10, 128), (20, 255)])
def test_a_cell_has_the_colour_of_the_share_that_stands_out(present, index):
    image = drawn(SeenCell(resolved=30, known=20, present=present))
    assert count(image, palette("viridis")[index]) > 0.6 * FULL
    assert count(image, NOTHING) < 0.1 * FULL  # only at the rims of letters


def test_a_cell_tells_of_how_many_objects_its_share_is():
    few, many = (drawn(SeenCell(40, known, known // 2)) for known in (20, 40))
    assert few.shape == many.shape
    assert (few != many).any()


def test_below_resolution_is_plain_grey_and_unknown_is_hatched():
    small, unknown, missing = (drawn(SeenCell(4, 4, 4), cell) for cell in (SeenCell(0, 0, 0), SeenCell(9, 0, 0), None))
    lines = (159, 159, 159)  # seven tenths of the grey
    assert count(small, lines) < 0.05 * FULL
    assert count(missing, lines) < 0.05 * FULL
    assert count(unknown, lines) > 0.2 * FULL
    assert count(small, NOTHING) > FULL
    assert 0.6 * FULL < count(unknown, NOTHING) < 0.95 * FULL


def test_the_key_explains_only_what_is_there():
    nothing = drawn(SeenCell(4, 4, 4), SeenCell(4, 4, 4))
    one = drawn(SeenCell(4, 4, 4), SeenCell(0, 0, 0))
    two = drawn(SeenCell(4, 0, 0), SeenCell(0, 0, 0))
    assert len(nothing) < len(one) < len(two)


def bars(image):
    """First and last column of each bar, from top to bottom."""
    found = (image == np.array(_BAR)).all(-1)
    rows = np.flatnonzero(found.sum(1) > 2)
    starts = rows[np.flatnonzero(np.diff(rows, prepend=-9) > 1)]
    return [(np.flatnonzero(found[row])[0], np.flatnonzero(found[row])[-1]) for row in starts]


def test_sizes_lie_on_a_logarithmic_axis():
    ranges = [SizeRange("level 0", 16, 24, 32, 7), SizeRange("level 1", 64, 80, 128, 9)]
    (a, b), (c, d) = bars(drawn(SeenCell(4, 4, 4), ranges=ranges, edges=(16, 32)))
    assert b - a == pytest.approx(d - c, abs=2)  # both are one octave
    assert c - b == pytest.approx(b - a, abs=5)  # and so is the gap


def test_without_sources_of_detections_there_are_no_sizes():
    cell = SeenCell(4, 4, 4)
    without = drawn(cell)
    assert count(without, _BAR) == 0
    assert len(without) < len(drawn(cell, ranges=[SizeRange("level 0", 9, 9, 9, 1)]))


def test_labels_that_do_not_match_are_refused():
    with pytest.raises(BadArrayError, match=r"1 rows and 2 columns do not match 1 rows of \[1\] cells"):
        draw_levels_seen(LevelsSeen([("a", "found")], [("neck", "0"), ("neck", "1")], [[None]]))
