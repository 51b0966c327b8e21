"""A plot's file: its suffix is its format."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from test_canvas import agree

from featscope.errors import BadOptionError
from featscope.render.levels_seen import LevelsSeen, SeenCell, SizeRange, draw_levels_seen
from featscope.render.matrix import Matrix, draw_matrix
from featscope.render.plots import check_plot_file

LABELS = [("neck <&>", "0"), ("neck <&>", "1"), ("港口", "0")]


def likeness():
    return draw_matrix(
        Matrix(np.eye(3), np.full((3, 3), 0.1), LABELS, LABELS, sides=("a'b", '"c"'), title="Likeness", words="words")
    )


def levels():
    cells = [[SeenCell(9, 9, 3), SeenCell(0, 0, 0), SeenCell(4, 0, 0)]]
    return draw_levels_seen(LevelsSeen([("small", "found (9)")], LABELS, cells, [SizeRange("level 0", 9, 12, 33, 4)]))


@pytest.mark.parametrize("make", [likeness, levels])
def test_both_files_are_of_one_description(make, tmp_path):
    plot = make()
    png, svg = (plot.save(tmp_path / "new" / f"plot{suffix}") for suffix in (".png", ".SVG"))
    assert svg.read_bytes() == plot.svg() == make().svg()
    root, image = ElementTree.fromstring(svg.read_bytes()), Image.open(png)
    assert image.size == (int(root.get("width")), int(root.get("height"))) == (plot.canvas.width, plot.canvas.height)
    assert image.text["title"] == root[0].text == plot.about["title"]
    agree(plot.canvas)


def test_each_text_lies_on_the_page():
    for plot in (likeness(), levels()):
        image = np.asarray(Image.open(io.BytesIO(plot.png())).convert("L"))
        edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edges == 255).all()


@pytest.mark.parametrize("name", ["likeness", "likeness.pdf", "svg", ".svg"])
def test_another_suffix_is_refused(name, tmp_path):
    with pytest.raises(BadOptionError, match=r"type a name that ends in \.png or \.svg"):
        check_plot_file(name)
    with pytest.raises(BadOptionError):
        likeness().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_a_plot():
    assert likeness()._repr_png_() == likeness().png()
