"""The picture of a matrix: colours of its values, hatching below the floor, labels of any length."""

import io

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.errors import BadArrayError
from featscope.render.canvas import Text
from featscope.render.colour import palette
from featscope.render.matrix import Matrix, _draw_cells, _with_labels, draw_matrix
from featscope.render.texts import length

LABELS = [("neck", "0"), ("neck", "1")]


def drawn(values, floor=None, rows=None, columns=None, **more):
    values = np.array(values, float)
    floor = np.full(values.shape, -1.0) if floor is None else np.array(floor, float)
    labels = [[("a", str(i)) for i in range(n)] for n in values.shape]
    return draw_matrix(Matrix(values, floor, rows or labels[0], columns or labels[1], **more)).png()


def count(png, colour):
    return int((pixels(png) == np.array(colour)).all(-1).sum())


@pytest.mark.parametrize(("value", "index"), [(0.0, 0), (0.25, 64), (0.5, 128), (1.0, 255), (-0.3, 0), (1.2, 255)])
def test_a_cell_has_the_colour_of_its_value(value, index):
    png = drawn([[value, value], [value, value]], title="Likeness")
    assert count(png, palette("viridis")[index]) > 4 * 51 * 51 * 0.7


def test_values_stand_in_the_order_of_the_rows_and_columns():
    table = palette("viridis")
    image = pixels(drawn([[0.2, 0.4], [0.6, 0.8]]))[:-60]  # without the scale
    middles = []
    for value in (0.2, 0.4, 0.6, 0.8):
        y, x = np.nonzero((image == table[round(255 * value)]).all(-1))
        middles.append((y.mean(), x.mean()))
    (a, b), (c, d) = middles[:2], middles[2:]
    assert (a[0], c[0]) == pytest.approx((b[0], d[0]), abs=3)
    assert (a[1], b[1]) == pytest.approx((c[1], d[1]), abs=3)
    assert a[0] + 40 < c[0]
    assert a[1] + 40 < b[1]


def test_what_may_be_chance_is_hatched():
    colour = palette("viridis")[51]
    plain, hatched = (count(drawn([[0.2]], [[floor]]), colour) for floor in (0.1, 0.2))
    unknown = count(drawn([[0.2]], [[np.nan]]), colour)
    assert plain == unknown
    assert 0.5 * plain < hatched < 0.85 * plain
    for floor, said in (
        ([[0.1]], "all values are above the noise floor, 0.10"),
        ([[0.3]], "hatched: not above the noise floor, 0.30"),
        ([[np.nan]], "no noise floor"),
    ):
        assert Image.open(io.BytesIO(drawn([[0.2]], floor))).text["words"] == said
    both = Image.open(io.BytesIO(drawn([[0.2, 0.3]], [[0.1, 0.25]], words="20 images"))).text["words"]
    assert both == "20 images; all values are above the noise floor, 0.10 to 0.25"


def test_no_value_is_grey_not_the_lowest_colour():
    png = drawn([[np.nan, 0.9]], [[np.nan, 0.1]])
    assert count(png, (228, 228, 228)) > 51 * 51 * 0.7
    assert count(png, palette("viridis")[0]) < 100  # only in the scale


def test_the_numbers_in_the_cells_are_the_values():
    """The picture of one number is another than that of the next."""
    same = [drawn([[value]], colours="gray") for value in (-0.02, -0.03, 1.01, 1.02)]
    assert len(set(same)) == 4


def test_long_names_are_written_upright_and_shortened():
    long = "a.layer.with.a.name.that.is.longer.than.anybody.wants.to.read.in.a.picture.of.some.numbers"
    short, upright = (
        Image.open(io.BytesIO(drawn([[0.5, 0.6]], columns=[(name, "0"), (name, "1")]))) for name in ("neck", long)
    )
    assert short.height + 100 < upright.height < short.height + 260
    other = Image.open(io.BytesIO(drawn([[0.5, 0.6]], columns=[("neck", "0"), ("neck", long)])))
    assert short.height + 100 < other.height < short.height + 260


def test_layers_are_set_apart():
    together, apart = (
        Image.open(io.BytesIO(drawn([[0.5] * 8], columns=[(name, str(i)) for i, name in enumerate(names)]))).width
        for names in ("aaaaaaaa", "aaaabbbb")
    )
    assert apart == together + 6


def test_many_layers_stay_on_the_page():
    values = np.linspace(0, 1, 60 * 60).reshape(60, 60)
    image = Image.open(io.BytesIO(drawn(values)))
    assert max(image.size) < 1400


def test_names_of_any_script_and_of_the_sides():
    text = Image.open(io.BytesIO(drawn([[0.5]], rows=[("港口", "0")], sides=("первый", "zweiter"), title="港"))).text
    assert (text["rows"], text["columns"], text["title"]) == ("первый", "zweiter", "港")
    assert drawn([[0.5]], sides=("one", "two")) != drawn([[0.5]], sides=("two", "one"))


@pytest.mark.parametrize(("rows", "columns"), [([], []), (LABELS, LABELS[:1]), (LABELS[:1], LABELS)])
def test_what_cannot_be_drawn(rows, columns):
    with pytest.raises(BadArrayError, match="give a label for each row and column"):
        draw_matrix(Matrix(np.zeros((2, 2)), np.zeros((2, 2)), rows, columns))


def test_what_lies_beyond_the_scale_is_counted_but_not_what_is_rounded():
    """A layer is as like itself as one is, but for the last digit."""
    for value, said in ((1 + 1e-9, "no noise floor"), (1.1, "no noise floor; 50% above the scale")):
        made = draw_matrix(Matrix(np.array([[value, 0.5]]), np.full((1, 2), np.nan), LABELS[:1], LABELS))
        assert said in [mark.text for mark in made.canvas.marks if isinstance(mark, Text)]


def test_the_name_of_the_rows_is_whole_beside_a_single_row():
    labels = [("a", "0")]
    matrix = Matrix(np.ones((1, 1)), np.zeros((1, 1)), labels, labels, sides=("size of the objects", "layer"))
    cells, down, across = _draw_cells(matrix, 52, palette("viridis"))
    body = _with_labels(cells, matrix, down, across, size=15)
    (name,) = (mark for mark in body.marks if isinstance(mark, Text) and mark.upright)
    assert name.text == "size of the objects"
    half = length(name.text, name.font) / 2
    assert half <= name.at[1] <= body.height - half
