"""Charts of values: bars as high as their counts, zeros apart, marks at their values, many layers on one page."""

import numpy as np
import pytest
from test_canvas import agree

from featscope.arrays.histogram import Even, count_values, even
from featscope.errors import BadArrayError
from featscope.render.canvas import Polygon, Rectangle, Text
from featscope.render.histograms import _BAR, _P99, _ZEROS, ValueChart, ValueRow, draw_histograms
from featscope.render.painter import paint

VALUES = Even(-1.0, 0.5, np.array([1, 4, 2, 0]))


def chart(values=VALUES, zeros=0.25, median=0.0, p99=0.75, name="level 0", lines=("zeros 25 %", "rank 3 of 8")):
    return ValueChart(name, values, zeros, median, p99, lines)


def drawn(*charts, name="neck"):
    return draw_histograms([ValueRow(name, charts)], "Values")


def boxes(plot, colour):
    """Rectangles of one colour, without those of the key."""
    end = next(i for i, mark in enumerate(plot.canvas.marks) if isinstance(mark, Text) and mark.text == "neck")
    return [one.box for one in plot.canvas.marks[end:] if isinstance(one, Rectangle) and one.colour == colour]


def texts(plot):
    return [mark.text for mark in plot.canvas.marks if isinstance(mark, Text)]


def test_bars_are_as_high_as_their_counts():
    bars = boxes(drawn(chart()), _BAR)
    heights = [bottom - top for _, top, _, bottom in bars]
    assert heights == [16, 64, 32]  # the tallest one has all 64 pixels, and an empty bin has no bar
    assert [right for _, _, right, _ in bars][:2] == [left for left, *_ in bars][1:]
    assert len({right - left for left, _, right, _ in bars}) == 1


def test_a_single_value_is_seen_beside_a_million():
    low, high = boxes(drawn(chart(Even(0, 1, np.array([1_000_000, 1])))), _BAR)
    assert low[3] - low[1] == 64
    assert high[3] - high[1] == 1


@pytest.mark.parametrize(("zeros", "pixels"), [(0, None), (1e-6, 1), (0.5, 31), (1, 62)])
def test_the_bar_of_zeros_is_as_full_as_their_share(zeros, pixels):
    full = boxes(drawn(chart(zeros=zeros)), _ZEROS)
    assert [bottom - top for _, top, _, bottom in full] == ([] if pixels is None else [pixels])


def test_marks_stand_at_their_values():
    plot = drawn(chart(median=-0.5, p99=0.5))
    bars = boxes(plot, _BAR)
    assert min(left for left, *_ in boxes(plot, _P99)) == pytest.approx(bars[2][2], abs=1)
    tip = [mark for mark in plot.canvas.marks if isinstance(mark, Polygon)][-1].points[2]
    assert tip[0] == pytest.approx(bars[1][0], abs=1)
    assert boxes(drawn(chart(p99=7)), _P99) == []  # beyond the axis


@pytest.mark.parametrize(
    ("zeros", "said"), [(1, "all values are zero"), (0, "no finite value"), (0.5, "no other finite value")]
)
def test_a_level_without_values_says_so(zeros, said):
    plot = drawn(chart(None, zeros, float("nan"), float("nan")))
    assert said in texts(plot)
    assert boxes(plot, _BAR) == []


@pytest.mark.parametrize(
    "values", [[3.0], [1e30, -1e30], [1e-40], [-5.0, -4.0], np.linspace(100, 101, 99), np.linspace(-2e5, 7e5, 999)]
)
def test_values_of_any_size(values):
    found = even(count_values(np.asarray(values, np.float32)))
    agree(drawn(chart(found, 0, float(np.median(values)), float(np.max(values)))).canvas)


def test_what_is_said_stands_there():
    plot = drawn(chart(), chart(name="level 1"))
    assert {"neck", "level 0", "level 1", "zeros 25 %", "rank 3 of 8", "-1", "0", "1"} <= set(texts(plot))
    assert any("exact zeros" in text for text in texts(plot))
    agree(plot.canvas)
    image = paint(plot.canvas)
    for box in boxes(plot, _BAR):
        left, top, right, bottom = (round(edge) for edge in box)
        inside = image[top + 6 : bottom, left + 2 : right - 2].reshape(-1, 3)
        assert (inside == _BAR).all(-1).mean() > 0.9  # but for the marks


def test_layers_of_one_level_share_a_row_and_long_ones_take_several():
    one = [ValueRow(f"layer{i}", [chart()]) for i in range(12)]
    twelve = draw_histograms([ValueRow("neck", [chart()] * 12)], "Values")
    shared, alone = draw_histograms(one, "Values"), draw_histograms(one[:1], "Values")
    assert shared.canvas.height == twelve.canvas.height
    assert shared.canvas.height < 4 * alone.canvas.height
    assert texts(twelve).count("neck, continued") == 2
    many = draw_histograms(one * 5, "Values").canvas
    assert many.width < 1400
    assert many.height < 3000
    charts = [mark for mark in many.marks if isinstance(mark, Text) and mark.text == "level 0"]
    assert len({mark.at for mark in charts}) == 60


def test_a_long_name_has_two_lines_and_ends_as_it_should():
    plot = drawn(chart(), name="backbone.layer3.17.bottleneck.conv2.of.a.<long>.name")
    assert "".join(text for text in texts(plot) if "layer3" in text or "name" in text).startswith("backbone.layer3.17.")
    assert any(text.endswith("name") for text in texts(plot))


def test_nothing_to_draw():
    for rows in ([], [ValueRow("neck", [])]):
        with pytest.raises(BadArrayError, match="no maps whose values could be drawn"):
            draw_histograms(rows, "Values")
