import io

import numpy as np
from PIL import Image

from featscope.render.png import encode_indexed, encode_rgb


def test_indices_survive_exactly(random):
    for shape in ((1, 1), (7, 5), (300, 1), (1, 300)):
        indices = random.integers(0, 256, shape, dtype=np.uint8)
        colours = random.integers(0, 256, (256, 3), dtype=np.uint8)
        opened = Image.open(io.BytesIO(encode_indexed(indices, colours)))
        assert opened.mode == "P"
        np.testing.assert_array_equal(np.asarray(opened), indices)
        np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), colours[indices])


def test_true_colour_survives_exactly(random):
    image = random.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_rgb(image)))), image)


def test_text_of_any_script():
    png = encode_rgb(np.zeros((2, 2, 3), np.uint8), {"layer": "neck", "sample": "港口 1\0"})
    text = Image.open(io.BytesIO(png)).text
    assert text == {"layer": "neck", "sample": "港口 1 "}
