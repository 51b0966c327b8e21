"""All methods of one box in one picture."""

import numpy as np
import pytest
from conftest import pixels

from featscope.explaining.candidates import Target
from featscope.explaining.drawing import draw_panel, write_panels
from featscope.explaining.explanation import Explanation
from featscope.records import Geometry, Sample, Source


def explained(method, number=0, level=0, layer="neck"):
    heat = np.zeros((4, 6), np.float32)
    heat[1, 2] = 1
    source = Source("cell", level, 0)
    target = Target(number=number, label=0, score=0.9, box=[200.0, 100.0, 400.0, 300.0], form="xyxy", source=source)
    sample = Sample("scene", geometry=Geometry((400, 600), (400, 600), (400, 600)))
    image = np.full((400, 600, 3), 90, np.uint8)
    return Explanation(sample, target, method, layer, level, "", heat, label="ship", image=image)


def test_a_panel_for_each_box_that_several_methods_explain(tmp_path):
    found = [explained("layercam"), explained("odam"), explained("layercam", 1), explained("odam", 1)]
    files = write_panels([*found, explained("odam", 2)], tmp_path)
    assert [path.name for path in files] == ["box_0_ship_methods_neck.png", "box_1_ship_methods_neck.png"]
    assert all(path.parent == tmp_path / "scene" and path.is_file() for path in files)


def test_maps_of_one_method_have_no_panel(tmp_path):
    assert write_panels([explained("odam"), explained("odam", 1)], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [2, 3, 7])
def test_each_method_has_its_map_under_its_name(count, tmp_path):
    several = [explained(f"method-{number}") for number in range(count)]
    panel = pixels(draw_panel(several))
    columns, rows = {2: (2, 1), 3: (3, 1), 7: (4, 2)}[count]
    assert panel.shape[1] == columns * 480 + (columns - 1) * 8
    hot = (panel[..., 0].astype(int) - panel[..., 2] > 60) & (panel[..., 1] < 60)  # the strongest cell is dark red
    hot[-60:] = False  # the scale
    places = [hot[:, column * 488 + 200] for column in range(columns)]  # through the cell's centre
    found = [int((np.diff(place.astype(int)) == 1).sum()) for place in places]
    assert sum(found) == count
    assert found[0] == rows


def test_layers_are_named_where_they_differ(monkeypatch):
    from featscope.explaining import drawing

    seen = []
    real = drawing.under_title
    monkeypatch.setattr(drawing, "under_title", lambda p, c, *rest: seen.append(c.title) or real(p, c, *rest))
    draw_panel([explained("odam"), explained("odam", level=1), explained("d-rise", layer="")])
    assert seen == ["odam  ·  neck level 0", "odam  ·  neck level 1", "d-rise"]
