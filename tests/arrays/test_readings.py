"""What a trace says of a tensor's axes, its maps and their places."""

from featscope.arrays.readings import read
from featscope.arrays.traces import move, trace_of_images
from featscope.records import Place


def _rows(chosen):
    """The reading of some rows of a picture of 8 x 6 pixels."""
    trace = trace_of_images((1, 3, 8, 6), 2, 3)
    return read(move(trace, (1, 3, len(chosen), 6), lambda p: p.take(chosen, 2) if p.shape[2] > 1 else p))


def test_cells_at_even_distances_have_a_place():
    (part,) = _rows([1, 3, 5, 7]).parts
    assert part.place == Place((2.0, 1.0), (1.5, 0.5), "operators")


def test_rows_at_uneven_distances_are_a_map_without_a_place():
    """A stride that most of the cells do not lie at would be a made-up one."""
    (part,) = _rows([0, 1, 2, 6, 7]).parts
    assert part.axes == ("sample", "channel", "row", "column")
    assert part.place is None
