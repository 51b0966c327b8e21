"""Draw the values of layers as small charts: a row for each layer, a chart for each level."""

from __future__ import annotations

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from featscope.arrays.histogram import Even
from featscope.errors import BadArrayError
from featscope.render.canvas import INK, PALE, WHITE, Canvas, indented, stack
from featscope.render.caption import tick_text, ticks, title_of
from featscope.render.colour import Colour
from featscope.render.fonts import Font, font_of
from featscope.render.keys import KeyEntry, key_of
from featscope.render.plots import Plot
from featscope.render.texts import fitted, length, printable

_BAR: Colour = (118, 164, 196)
_ZEROS: Colour = (217, 140, 50)
_P99: Colour = (170, 40, 60)
_MARGIN = 8  # pixels, as much as a title has
_LETTERS, _SMALL = 14, 12  # pixels
_NAME_STEP = 18  # pixels from one line of a name to the next
_WIDE, _HIGH = 226, 64  # pixels of a chart
_APART = 26  # pixels from one chart to the next
_GAUGE = 12  # pixels of the bar of zeros
_FROM_GAUGE = 10  # pixels from it to the histogram
_BEFORE = 8  # pixels between the key and the first row
_STEP = 16  # pixels from one line of numbers to the next
_MOST_IN_A_ROW = 5
_LEAST_IN_A_ROW = 3
_ZEROS_WORDS = "exact zeros: their share of all values, from none (empty bar) to all (full bar)"
_BARS_WORDS = (
    "the other values, by size. Each chart has an axis of its own, which leaves out the lowest and the highest 0.1 %; "
    "its tallest bar has the full height"
)
_NUMBERS_WORDS = (
    "effective rank: the channels vary about as much as this many independent channels would. silent: channels without "
    "a value above zero on these images"
)


class ValueChart(NamedTuple):
    """The values of one level."""

    name: str

    values: Optional[Even]
    """The histogram of the values that are not zero; None if all are zero, or none is a number."""

    zeros: float
    """Share of all values that are exactly zero."""

    median: float
    p99: float

    lines: Sequence[str]
    """What else is said of the level, each in a line below the chart."""


class ValueRow(NamedTuple):
    """The levels of one layer."""

    name: str
    charts: Sequence[ValueChart]


def draw_histograms(rows: Sequence[ValueRow], title: str, words: str = "") -> Plot:
    """Draw the values of layers.

    >>> import numpy as np
    >>> values = Even(0.0, 0.5, np.array([9, 4, 1]))
    >>> chart = ValueChart("level 0", values, 0.25, 0.4, 1.3, ["median 0.4, p99 1.3"])
    >>> draw_histograms([ValueRow("neck.fpn", [chart, chart])], "Values of the maps").png()[1:4]
    b'PNG'

    Layers of one level share a row, and a layer of many levels takes several. Raises `BadArrayError` if there is
    nothing to draw.
    """
    if not any(row.charts for row in rows):
        raise BadArrayError("there are no maps whose values could be drawn; featscope list RUN shows what is stored")
    bands = list(_bands(rows))
    columns = max(_LEAST_IN_A_ROW, *(sum(len(row.charts) for row in band) for band in bands))
    inner = columns * (_WIDE + _APART) - _APART
    parts = [title_of(inner + 2 * _MARGIN, title, words, letters=17), _legend(inner), Canvas(1, _BEFORE)]
    parts += [_draw_band(band, inner) for band in bands]
    return Plot(stack(parts), {"title": title, "words": words})


def _bands(rows: Sequence[ValueRow]) -> Iterator[List[ValueRow]]:
    """Arrange layers in bands that are as wide as the page."""
    single: List[ValueRow] = []
    for row in rows:
        if single and (len(row.charts) > 1 or len(single) == _MOST_IN_A_ROW):
            yield single
            single = []
        if len(row.charts) == 1:
            single.append(row)
            continue
        for start in range(0, len(row.charts), _MOST_IN_A_ROW):
            name = row.name + (", continued" if start else "")
            yield [ValueRow(name, row.charts[start : start + _MOST_IN_A_ROW])]
    if single:
        yield single


def _legend(width: int) -> Canvas:
    zeros, bars, median, p99 = (Canvas(18, 18) for _ in range(4))
    _draw_gauge(zeros, (3, 1, 15, 17), 0.6)
    for place, high in enumerate((5, 12, 16, 8, 4)):
        bars.rectangle((1 + 3 * place, 17 - high, 4 + 3 * place, 17), _BAR)
    _draw_median(median, 9, 1, 17)
    _draw_p99(p99, 9, 1, 17)
    entries = [
        KeyEntry(_ZEROS_WORDS, zeros),
        KeyEntry(_BARS_WORDS, bars),
        KeyEntry("the median of all values, zeros included", median),
        KeyEntry("p99: one value in a hundred is larger", p99),
        KeyEntry(_NUMBERS_WORDS),
    ]
    return indented(key_of(entries, width, _LETTERS - 1), _MARGIN, width + 2 * _MARGIN)


def _draw_band(band: Sequence[ValueRow], width: int) -> Canvas:
    """Draw layers side by side, each with its name above its charts."""
    font = font_of(_LETTERS, "".join(row.name for row in band))
    rooms = [len(row.charts) * (_WIDE + _APART) - _APART for row in band]
    names = [_in_lines(row.name, font, room) for row, room in zip(band, rooms)]
    rule = _NAME_STEP * max(map(len, names)) + 4
    lines = max(len(chart.lines) for row in band for chart in row.charts)
    below = rule + 8
    canvas = Canvas(width + 2 * _MARGIN, below + _STEP + _HIGH + 26 + _STEP * lines + 14)
    left = _MARGIN
    for row, room, name in zip(band, rooms, names):
        for number, line in enumerate(name, 1 - len(name)):
            canvas.text((left, rule - 5 + _NAME_STEP * number), line, font, anchor="ls")
        canvas.line((left, rule), (left + room - 1, rule), PALE)
        for chart in row.charts:
            canvas.paste(_draw_chart(chart, canvas.height - below), left, below)
            left += _WIDE + _APART
    return canvas


def _in_lines(name: str, font: Font, room: float) -> List[str]:
    """Return a name in one line or two, the first of which ends at a dot.

    >>> _in_lines("bbox_head_refine.0.s2arefinehead.cls_scores", font_of(14), 226)
    ['bbox_head_refine.0.s2arefinehead.', 'cls_scores']
    """
    name = printable(name)
    if length(name, font) <= room:
        return [name]
    parts = name.split(".")
    first = ""
    while len(parts) > 1 and length(f"{first}{parts[0]}.", font) <= room:
        first += f"{parts.pop(0)}."
    return [*([first] if first else []), fitted(".".join(parts), font, room)]


def _draw_chart(chart: ValueChart, height: int) -> Canvas:
    canvas, small = Canvas(_WIDE, height), font_of(_SMALL, chart.name)
    canvas.text((0, 0), fitted(chart.name, small, _WIDE), small)
    top, bottom = _STEP + 4, _STEP + 4 + _HIGH
    _draw_gauge(canvas, (0, top, _GAUGE, bottom), chart.zeros)
    left = _GAUGE + _FROM_GAUGE
    if chart.values is None:
        all_zero = chart.zeros == 1
        text = "all values are zero" if all_zero else "no finite value" if not chart.zeros else "no other finite value"
        canvas.text((left, (top + bottom) / 2), text, small, PALE, anchor="lm")
    else:
        _draw_values(canvas, chart, chart.values, (left, top, _WIDE, bottom))
    canvas.line((left, bottom), (_WIDE - 1, bottom), PALE)
    for number, line in enumerate(chart.lines):
        font = font_of(_SMALL, line)
        canvas.text((0, bottom + 22 + _STEP * number), fitted(line, font, _WIDE + _APART - 4), font, PALE)
    return canvas


def _draw_values(canvas: Canvas, chart: ValueChart, values: Even, box: Tuple[int, int, int, int]) -> None:
    """Draw a histogram over its axis, with the marks of the median and the 99th percentile."""
    left, top, right, bottom = box
    most = max(1, int(values.counts.max()))

    def place(value: float) -> float:
        return left + (value - values.low) / (values.high - values.low) * (right - left)

    edges = [place(values.low + number * values.step) for number in range(len(values.counts) + 1)]
    for count, start, end in zip(values.counts.tolist(), edges, edges[1:]):
        if count:
            canvas.rectangle((start, bottom - max(1.0, count / most * (bottom - top)), end, bottom), _BAR)
    font, taken = font_of(_SMALL - 1), -_SMALL * 1.0
    for tick in ticks(values.low, values.high):
        text = tick_text(tick, values.low, values.high)
        half, x = length(text, font) / 2, place(tick)
        canvas.line((min(x, right - 1), bottom), (min(x, right - 1), bottom + 3), PALE)
        at = min(x, right - half)
        if at - half > taken:
            canvas.text((at, bottom + 5), text, font, PALE, anchor="ma")
            taken = at + half + 4
    for draw, value in ((_draw_p99, chart.p99), (_draw_median, chart.median)):
        if values.low <= value <= values.high:
            draw(canvas, min(int(place(value)), right - 1), top, bottom)


def _draw_gauge(canvas: Canvas, box: Tuple[int, int, int, int], share: float) -> None:
    """Draw a bar that is full where a share is one."""
    left, top, right, bottom = box
    canvas.rectangle(box, PALE)
    canvas.rectangle((left + 1, top + 1, right - 1, bottom - 1), WHITE)
    if share > 0:
        high = max(1.0, share * (bottom - top - 2))
        canvas.rectangle((left + 1, bottom - 1 - high, right - 1, bottom - 1), _ZEROS)


def _draw_median(canvas: Canvas, x: int, top: int, bottom: int) -> None:
    canvas.line((x, top), (x, bottom - 1), INK)
    canvas.polygon([(x - 4, top - 3), (x + 5, top - 3), (x + 0.5, top + 3)], INK)


def _draw_p99(canvas: Canvas, x: int, top: int, bottom: int) -> None:
    for start in range(top, bottom, 6):
        canvas.rectangle((x, start, x + 2, min(start + 4, bottom)), _P99)
