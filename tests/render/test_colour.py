import numpy as np
import pytest

from featscope.errors import UnknownNameError
from featscope.render.colour import INF_COLOUR, NAN_COLOUR, palette


def test_jet_is_the_one_of_opencv():
    # Five colours of cv2.COLORMAP_JET, as RGB.
    table = palette("jet")
    expected = {0: (0, 0, 128), 64: (0, 128, 255), 128: (130, 255, 126), 192: (255, 126, 0), 255: (128, 0, 0)}
    for index, colour in expected.items():
        assert np.abs(table[index].astype(int) - colour).max() <= 2, index


@pytest.mark.parametrize("name", ["viridis", "turbo", "gray", "magma", "jet"])
def test_every_map_spans_its_levels(name):
    for levels in (256, 254, 252):
        table = palette(name, levels, marks=levels <= 254)
        assert table.shape == (256, 3)
        assert tuple(table[0]) == tuple(palette(name)[0])
        assert tuple(table[levels - 1]) == tuple(palette(name)[255])
    assert tuple(palette(name, 254, True)[254]) == INF_COLOUR
    assert tuple(palette(name, 254, True)[255]) == NAN_COLOUR


def test_an_unknown_name_gets_close_ones():
    with pytest.raises(UnknownNameError, match="viridis"):
        palette("virides")
