"""Differences of maps: on one scale only where that is proved, and drawn where the maps lie."""

import numpy as np
import pytest
from PIL import Image

from featscope.analysis.comparing import compare
from featscope.analysis.map_differences import difference_of, draw_differences
from featscope.analysis.objects import MapName
from featscope.analysis.scene_maps import LAYER, SCORES, SceneMap
from featscope.errors import BadArrayError, BadRunError
from featscope.records import Place, Policy
from featscope.render.heat import STYLES
from tests.analysis.runs import boxes, bright_map, write_run

OBJECTS = [(48, 48, 32, 32, 0, 0), (128, 48, 32, 32, 0, 0), (208, 48, 32, 32, 0, 1), (48, 160, 32, 32, 0, 1)]
CHANNELS = 8
PLACE = Place((8.0, 8.0), (4.0, 4.0))


def one_map(values, units="", words="energy", place=PLACE):
    values = np.array(values, np.float32)
    return SceneMap(values, place, "level 0", STYLES["featscope"], words, (0.0, float(values.max())), units)


def write(folder, value=1.0, order=None, images=4, stride=8):
    """A run whose neck has channels of its own for each object; `order` puts them in another order."""
    random = np.random.default_rng(0)
    strengths = random.normal(size=(images * len(OBJECTS), CHANNELS)).astype(np.float32)
    maps = {}
    for number in range(images):
        whole = np.zeros((CHANNELS, 256 // stride, 256 // stride), np.float32)
        for place, one in enumerate(OBJECTS):
            inside = bright_map([(*one[:5], 0)], stride, 1.0, channels=1)[0] > 0.5
            whole += strengths[number * len(OBJECTS) + place][:, None, None] * inside
        whole += random.normal(0, 0.05, whole.shape)
        maps[f"i{number}"] = value * (whole if order is None else whole[order]).astype(np.float32)
    truth, found = boxes(*OBJECTS), boxes(OBJECTS[0], scores=[0.9])
    return write_run(folder, {name: (truth, found) for name in maps}, [("neck", 0, stride, maps)])


def test_units_decide_about_the_scale():
    a, b = [[0.0, 1.0], [2.0, 4.0]], [[0.0, 3.0], [2.0, 8.0]]
    for units in (LAYER, SCORES):
        found = difference_of(one_map(a, units), one_map(b, units))
        assert found.one_scale
        assert found.values.tolist() == [[0, 2], [0, 4]]
    scaled = difference_of(one_map(a), one_map(b))
    assert not scaled.one_scale
    np.testing.assert_allclose(scaled.values, [[0, 3 / 8 - 1 / 4], [2 / 8 - 2 / 4, 0]])
    assert "scaled to its own values" in scaled.words
    assert not difference_of(one_map(a, LAYER), one_map(b, SCORES)).one_scale
    assert not difference_of(one_map(a, SCORES, "sigmoid"), one_map(b, SCORES, "softmax")).one_scale


def test_a_constant_map_is_scaled_to_nothing():
    assert difference_of(one_map(np.zeros((2, 2))), one_map([[0, 2.0], [1, 0]])).values.tolist() == [[0, 1], [0.5, 0]]


def test_cells_at_other_places_are_not_subtracted():
    with pytest.raises(BadArrayError, match="2 x 2 cells and 2 x 3 cells"):
        difference_of(one_map(np.ones((2, 2))), one_map(np.ones((2, 3))))
    moved, near = Place((8.0, 8.0), (9.0, 4.0)), Place((8.0, 8.0), (4.3, 4.0))
    with pytest.raises(BadArrayError, match="other places"):
        difference_of(one_map(np.ones((2, 2))), one_map(np.ones((2, 2)), place=moved))
    assert difference_of(one_map(np.ones((2, 2))), one_map(np.ones((2, 2)), place=near)).values.shape == (2, 2)


def test_the_same_channels_have_one_scale_and_others_do_not(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", 2.0)
    other = write(tmp_path / "c", 2.0, np.roll(np.arange(CHANNELS), 1))
    name = MapName("neck", "", 0)
    same, moved = (compare(one, run, 0.5) for run in (two, other))
    assert str(same.orders[name]) == "8 of 8"
    assert same.one_scale == {name}
    assert not moved.one_scale
    drawn = draw_differences(one, two, tmp_path / "same", same.one_scale)
    assert (len(drawn.pictures), drawn.one_scale) == (4, 4)
    assert "4 on one scale" in drawn.summary
    drawn = draw_differences(one, other, tmp_path / "moved", moved.one_scale, sample="i1")
    assert [path.relative_to(tmp_path).as_posix() for path in drawn.pictures] == ["moved/neck/i1_level0.png"]
    assert drawn.one_scale == 0
    assert "in 1 each map was scaled" in drawn.summary


def test_what_grew_is_red_and_what_shrank_is_blue(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", 3.0)
    for runs, name, sign in (((one, two), "more", 1), ((two, one), "less", -1)):
        drawn = draw_differences(*runs, tmp_path / name, {MapName("neck", "", 0)}, sample="i0")
        picture = np.asarray(Image.open(drawn.pictures[0]).convert("RGB")).astype(int)
        warm = sign * (picture[..., 0] - picture[..., 2])
        # The scale has as much of both colours. The objects cover a sixteenth of the 65,536 pixels.
        assert (warm > 60).sum() - (warm < -60).sum() > 3000


def test_what_cannot_be_drawn_is_said_and_the_rest_is_drawn(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", stride=16)
    drawn = draw_differences(one, two, tmp_path / "drawn")
    assert not drawn.pictures
    assert any("no difference of neck 0 was drawn" in text and "32 x 32" in text for text in drawn.remarks)
    assert drawn.errors == [f"{one} and {two} have no maps that could be subtracted"]
    fewer = write(tmp_path / "c", images=3)
    drawn = draw_differences(one, fewer, tmp_path / "fewer")
    assert len(drawn.pictures) == 3
    assert any("i3" in text for text in drawn.remarks)
    assert not drawn.errors


def test_a_damaged_map_costs_one_picture(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", 2.0)
    damaged = next((two / "neck.toy").glob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:200])
    drawn = draw_differences(one, two, tmp_path / "drawn")
    assert len(drawn.pictures) == 3
    (error,) = drawn.errors
    assert "no difference of neck 0 of i" in error
    assert damaged.name in error


def test_a_run_of_objects_has_no_maps(tmp_path):
    one = write(tmp_path / "a")
    pooled = write_run(
        tmp_path / "b", {"i0": (boxes(*OBJECTS), boxes(OBJECTS[0], scores=[0.9]))}, [], policy=Policy(objects=True)
    )
    with pytest.raises(BadRunError, match="objects in place of maps"):
        draw_differences(one, pooled, tmp_path / "drawn")


def test_other_processes_draw_the_same(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", 2.0)
    alone, together = (draw_differences(one, two, tmp_path / name, executor=name) for name in ("serial", "processes:2"))
    assert [path.read_bytes() for path in alone.pictures] == [path.read_bytes() for path in together.pictures]
