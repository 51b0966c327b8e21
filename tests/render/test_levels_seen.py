"""Which level saw which objects: colours of the shares, marks of what is unknown, sizes by level."""

import numpy as np
import pytest
from conftest import pixels

from featscope.errors import BadArrayError
from featscope.render.colour import palette
from featscope.render.levels_seen import _BAND, _BAR, _BRACKET, LevelsSeen, SeenCell, SizeRange, draw_levels_seen
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


def bands(image):
    """First and last column of each pale band, from top to bottom, without the key's sample."""
    found = (image == np.array(_BAND)).all(-1)
    found[:, :40] = False
    rows = np.flatnonzero(found.sum(1) > 2)
    starts = rows[np.flatnonzero(np.diff(rows, prepend=-9) > 1)]
    middles = starts + 9  # the ends of brackets lie in the first and the last row
    return [(np.flatnonzero(found[row])[0], np.flatnonzero(found[row])[-1]) for row in middles]


def with_bands(*spans, **objects):
    ranges = [SizeRange(f"level {number}", 40, 50, 60, 5, span) for number, span in enumerate(spans)]
    return drawn(SeenCell(4, 4, 4), ranges=[one._replace(**objects) for one in ranges], edges=(32,))


def test_what_is_assigned_lies_around_the_bars_on_the_same_axis():
    image = with_bands((32, 64), (64, 128))
    (a, b), (c, d) = bands(image)
    (start, end), _ = bars(image[:, 40:])
    start, end = start + 40, end + 40
    assert a < start < end < b
    assert b == pytest.approx(c, abs=4)
    assert b - a == pytest.approx(d - c, abs=2)  # both are one octave
    octave = b - a
    assert end - start == pytest.approx(octave * np.log2(60 / 40), abs=5)
    assert count(image, _BRACKET) > 4 * 18


def test_an_end_without_a_limit_reaches_the_end_of_the_axis_and_has_no_bracket():
    closed, open_ended = with_bands((64, 128)), with_bands((64, None))
    assert bands(open_ended)[0][1] > bands(closed)[0][0] + 50
    assert count(open_ended, _BRACKET) < count(closed, _BRACKET)
    ((first, last),) = bands(with_bands((0, 512)))
    ((_, end),) = bands(with_bands((0, None)))
    assert last - first > 300
    assert end == pytest.approx(last, abs=6)


def test_levels_without_objects_have_a_band_and_no_bar():
    image = with_bands((64, 128), objects=0, low=np.nan, middle=np.nan, high=np.nan)
    assert len(bands(image)) == 1
    assert [bar for bar in bars(image) if bar[0] > 40] == []


def test_levels_of_all_sizes_without_objects_can_be_drawn():
    assert len(bands(with_bands((0, None), objects=0))) == 1


def test_anchors_of_one_size_are_a_line():
    image = with_bands((64, 64), (64, 64))
    assert bands(image) == []
    assert count(image, _BRACKET) > 2 * 2 * 18


def test_the_reason_stands_in_the_key_where_nothing_is_assigned():
    ranges = [SizeRange("level 0", 40, 50, 60, 5)]
    columns = [("neck", "0")]
    seen = LevelsSeen([("small", "missed (9)")], columns, [[SeenCell(4, 4, 4)]], ranges, (32,))
    plain, said = (
        pixels(draw_levels_seen(seen._replace(assigned=words)).png()) for words in ("", "Not known, as it is.")
    )
    assert count(said, _BAND) == 0
    assert plain.shape != said.shape or (plain != said).any()
