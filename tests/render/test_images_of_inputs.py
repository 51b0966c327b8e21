"""What lies under a map: the file, the input, or the whole input where nobody knows how the image lies in it."""

import numpy as np
import pytest
import torch
from PIL import Image

from featscope.capturing.start import capture
from featscope.demo.scenes import draw_scene
from featscope.records import Agreement, Boxes, Geometry, Sample
from featscope.render.heat import HeatStyle
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.store.reader import open_run
from featscope.store.sample_images import unfed

GREY = HeatStyle(colormap="gray", alpha=0.5)


def test_without_a_geometry_maps_and_boxes_lie_on_the_whole_input(tmp_path):
    scene = np.ascontiguousarray(draw_scene(3).image[:400, :512])
    Image.fromarray(scene).save(tmp_path / "photo.png")
    seen = np.ascontiguousarray(np.rot90(np.asarray(Image.fromarray(scene).resize((160, 128)))))
    model = torch.nn.Sequential(torch.nn.AvgPool2d(8))
    told = Geometry((400, 512), (128, 160), (160, 128))
    found = Boxes("xyxy", [[16.0, 40.0, 64.0, 120.0]], [0], [0.9], frame="input")
    with capture(model, to=tmp_path / "run") as session:
        session.start_batch(0, ["a"], [str(tmp_path / "photo.png")])
        model(torch.from_numpy(seen.copy()).permute(2, 0, 1)[None].float())
        with pytest.warns(RuntimeWarning, match="does not match their files in any way"):
            session.describe([Sample("a", geometry=told, predictions=found)], [seen])
    opened = open_run(tmp_path / "run")
    assert opened.samples["a"].geometry is None
    options = HeatOptions(style=GREY, predictions=True)
    outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, options), tmp_path / "heat")
    assert not outcome.errors
    assert any("drawn over the input itself" in remark for remark in outcome.remarks)
    (drawn,) = (tmp_path / "heat").rglob("*_overlay.png")
    picture = np.asarray(Image.open(drawn).convert("RGB")).astype(int)
    assert picture.shape == (160, 128, 3)
    grey = picture.mean(2)[:30]  # above the box
    assert np.corrcoef(grey.ravel(), seen.mean(2)[:30].ravel())[0, 1] > 0.8
    edge = picture[60:100, 16] - picture[60:100, 40]
    assert np.ptp(edge, 1).mean() > 60, "the box is drawn in a colour, in pixels of the input"


def test_a_crop_between_pixels_comes_back_where_it_was():
    original = np.zeros((40, 60, 3), np.uint8)
    original[:, 30:] = 200
    geometry = Geometry((40, 60), (40, 41), (40, 41), flip="horizontal", crop=(0, 10.4, 40, 41))
    part = np.ascontiguousarray(original[:, 10:51][:, ::-1])
    back = unfed(part, geometry)
    assert back.shape == original.shape
    edge = int(np.argmax(back[20, 12:50, 0] > 100)) + 12
    assert abs(edge - 30) <= 1


@pytest.mark.parametrize("flip", ["", "horizontal", "vertical", "diagonal"])
def test_what_the_network_saw_mirrored_comes_back_as_it_was(flip):
    original = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    seen = original[:, ::-1] if flip in ("horizontal", "diagonal") else original
    seen = seen[::-1] if flip in ("vertical", "diagonal") else seen
    np.testing.assert_array_equal(unfed(seen, Geometry((4, 6), (4, 6), (4, 6), flip=flip)), original)


def test_an_old_run_without_agreement_is_drawn_as_before():
    from featscope.store.sample_images import lies_in_input

    assert not lies_in_input(Sample("a", input="inputs/0_a.jpg"))
    assert lies_in_input(Sample("a", input="inputs/0_a.jpg", agreement=Agreement("disagrees")))
    assert not lies_in_input(Sample("a", agreement=Agreement("disagrees")))
