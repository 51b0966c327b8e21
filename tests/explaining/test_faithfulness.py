"""How much of a box each cell holds, by hand."""

import numpy as np
import pytest

from featscope.explaining.candidates import Target
from featscope.explaining.explanation import Explanation
from featscope.explaining.faithfulness import inside_box
from featscope.records import Geometry, Place, Sample, Source


@pytest.mark.parametrize("flip", ["", "horizontal", "vertical", "diagonal"])
@pytest.mark.parametrize(
    ("form", "box"), [("xyxy", [6.0, 5.0, 30.0, 19.0]), ("cxcywha", [18.0, 12.0, 24.0, 14.0, 0.0])]
)
def test_a_box_lies_in_its_cells_however_the_input_is_mirrored(flip, form, box):
    """24 x 14 pixels of the original, of which the input has half as many: some cells it holds whole, some in part."""
    geometry = Geometry((32, 40), (16, 20), (16, 20), flip=flip)
    target = Target(Source("cell", 0), 0, 0.9, box, form, 0)
    heat = np.zeros((8, 5), np.float32)
    place = Place((2.0, 4.0), (1.0, 2.0), "operators")
    share = inside_box(Explanation(Sample("a", geometry=geometry), target, "odam", "neck", 0, "", heat, place))
    # Rows 2.5 to 9.5 and columns 3 to 15 of the input, in cells of 2 x 4.
    expected = np.outer([0, 0.75, 1, 1, 0.75, 0, 0, 0], [0.25, 1, 1, 0.75, 0])
    if flip in ("horizontal", "diagonal"):
        expected = expected[:, ::-1]
    if flip in ("vertical", "diagonal"):
        expected = expected[::-1]
    np.testing.assert_allclose(share, expected, atol=1e-9)
