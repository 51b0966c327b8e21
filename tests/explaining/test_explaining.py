"""Explanations of the built-in detector: each map lies on its own box, by every method that says so."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from featscope.adapters.opening import open_detector
from featscope.demo.scenes import draw_scene
from featscope.errors import BadOptionError, CaptureError, UnknownNameError
from featscope.explaining.explainer import explain_item
from featscope.explaining.faithfulness import _by_importance, inside_box, measure, size_of, table
from featscope.explaining.masking import random_masks, scores_of
from featscope.explaining.targets import Choice
from featscope.records import Place


@lru_cache(maxsize=None)
def demo():
    return open_detector("demo")


@pytest.fixture
def detector():
    return demo()


@pytest.fixture
def item(detector):
    return detector.prepare(draw_scene(3).image, "scene")


def energy(explanation):
    return float((explanation.heat * inside_box(explanation)).sum() / explanation.heat.sum())


@pytest.mark.parametrize("method", ["hirescam", "layercam", "odam"])
def test_the_map_of_a_box_lies_on_its_object(detector, item, method):
    found = explain_item(detector, item, "neck", [method], Choice(top=6))
    assert len(found) == 6
    for explanation in found:
        # This detector was trained on cells' middles, half a cell beside the place that its operators give; there
        # its cells look, as `featscope place` measures.
        looking = replace(explanation, place=None)
        assert inside_box(looking)[np.unravel_index(explanation.heat.argmax(), explanation.heat.shape)] > 0
        for other in found:
            if other is not explanation and other.heat.shape == explanation.heat.shape:
                mine = (explanation.heat * inside_box(explanation)).sum()
                assert mine > (explanation.heat * inside_box(other)).sum(), "and not on its neighbour"


def test_gradients_are_those_of_a_plain_backward(detector, item):
    """The same from a forward of our own, with a graph from the image on and one backward."""
    (explanation,) = explain_item(detector, item, "neck", ["grad-cam"], Choice(numbers=[2]))
    source, kept = explanation.target.source, []
    model = detector.model
    handle = model.neck.register_forward_hook(
        lambda m, i, out: kept.extend(out) or [t.retain_grad() for t in out][:0] or None
    )
    inputs = torch.from_numpy(item.inputs.copy()).permute(2, 0, 1)[None].float().requires_grad_(True)
    scores, _, _ = model(inputs)
    handle.remove()
    scores[source.level][0, explanation.target.label, source.row, source.column].backward()
    level = explanation.level
    weights = kept[level].grad[0].mean((1, 2))
    heat = torch.einsum("c,chw->hw", weights, kept[level][0]).relu().detach().numpy()
    np.testing.assert_allclose(explanation.heat, heat, rtol=1e-4, atol=1e-7)
    model.zero_grad()


def test_one_side_of_a_box(detector, item):
    found = {
        side: explain_item(detector, item, "neck", ["hirescam"], Choice(numbers=[5]), side)[0].heat
        for side in ("", "width", "angle")
    }
    assert not np.allclose(found["width"] / found["width"].max(), found["angle"] / found["angle"].max(), atol=0.05)
    with pytest.raises(UnknownNameError, match="'width'"):
        explain_item(detector, item, "neck", ["hirescam"], Choice(top=1), "widht")


def test_classes_and_numbers_choose(detector, item):
    planes = explain_item(detector, item, "neck", ["layercam"], Choice(label="plane", top=2))
    assert [detector.info.classes[e.target.label] for e in planes] == ["plane", "plane"]
    (one,) = explain_item(detector, item, "neck", ["layercam"], Choice(numbers=[4]))
    assert one.target.number == 4
    with pytest.raises(UnknownNameError, match="'plane'"):
        explain_item(detector, item, "neck", ["layercam"], Choice(label="plain"))
    with pytest.raises(BadOptionError, match="no box 900"):
        explain_item(detector, item, "neck", ["layercam"], Choice(numbers=[900]))


def test_an_image_with_nothing_in_it_is_explained_by_its_best_raw_score(detector):
    grey = detector.prepare(np.full((300, 300, 3), 110, np.uint8), "grey")
    with torch.no_grad():
        assert not detector.detect([grey])[0].sample.predictions.boxes
    (found,) = explain_item(detector, grey, "neck", ["layercam"], Choice(top=5), on_error=lambda text: None)
    assert found.target.number == -1
    with torch.no_grad():
        levels = detector.detect([grey], candidates=True)[0].candidates.levels
    assert found.target.score == pytest.approx(max(float(level.scores.max()) for level in levels))


def test_what_cannot_be_explained_is_an_error(detector, item):
    with pytest.raises(UnknownNameError, match="'neck'"):
        explain_item(detector, item, "nekc")
    with pytest.raises(UnknownNameError, match="'grad-cam'"):
        explain_item(detector, item, "neck", ["gradcam"])
    with pytest.raises(CaptureError, match="does not depend|has no gradient"):
        explain_item(detector, item, "bbox_head_refine.0.retina_reg", ["grad-cam"], Choice(top=1))
    errors = []
    found = explain_item(
        detector, item, "bbox_head_refine.0.retina_reg", ["grad-cam"], Choice(top=3), on_error=errors.append
    )
    assert not found
    assert len(errors) == 3


def test_half_precision(detector, item):
    try:
        image, places = torch.zeros(1, 1, 2, 2).bfloat16(), torch.zeros(1, 1, 1, 2).bfloat16()
        torch.nn.functional.grid_sample(image, places, align_corners=False)
    except RuntimeError:
        pytest.skip(f"torch {torch.__version__} does not sample in bfloat16, as the built-in detector does")
    model = open_detector("demo")
    model.model.bfloat16()
    inner = model.model.raw
    model.model.raw = lambda inputs: tuple([t.float() for t in part] for part in inner(inputs.bfloat16()))
    found = explain_item(model, item, "neck", ["layercam"], Choice(top=2))
    assert all(e.heat.dtype == np.float32 and e.heat.max() > 0 for e in found)


@pytest.mark.slow
def test_d_rise_finds_the_objects(detector, item):
    found = explain_item(detector, item, "", ["d-rise"], Choice(label="plane", top=2), masks=60, batch_size=4)
    for explanation in found:
        assert explanation.heat.shape == item.inputs.shape[:2]
        centre = inside_box(explanation) > 0.5
        assert explanation.heat[centre].mean() > 3 * explanation.heat.mean()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["score-cam", "ablation-cam"])
def test_channels_are_weighed_by_what_they_do(detector, item, method):
    (found,) = explain_item(detector, item, "neck", [method], Choice(top=1), batch_size=8)
    assert found.heat.max() > 0
    if method == "ablation-cam":  # one weight by hand
        with torch.no_grad():
            before = scores_of(detector.detect([item], candidates=True)[0].candidates, [found.target])[0]

            def without(_module, _inputs, output):
                changed = list(output)
                changed[found.level] = changed[found.level].clone()
                changed[found.level][:, 5] = 0
                return tuple(changed)

            handle = detector.model.neck.register_forward_hook(without)
            after = scores_of(detector.detect([item], candidates=True)[0].candidates, [found.target])[0]
            handle.remove()
        assert before > 0
        from featscope.explaining import masking

        weights = []
        original = masking.torch.einsum
        masking.torch.einsum = lambda how, w, a: weights.append(w) or original(how, w, a)
        try:
            explain_item(detector, item, "neck", [method], Choice(top=1), batch_size=8)
        finally:
            masking.torch.einsum = original
        assert float(weights[-1][5]) == pytest.approx((before - after) / before, abs=1e-5)


def test_random_masks_show_half_of_the_image_anywhere():
    masks = random_masks(200, (96, 160), torch.Generator().manual_seed(0))
    assert masks.shape == (200, 96, 160)
    assert 0 <= masks.min() <= masks.max() <= 1
    assert (masks.mean(0) - 0.5).abs().max() < 0.15


@pytest.mark.slow
def test_faithfulness_tells_a_good_map_from_a_bad_one(detector, item):
    (good,) = explain_item(detector, item, "neck", ["hirescam"], Choice(top=1))
    from dataclasses import replace

    bad = replace(good, method="bad", heat=np.ascontiguousarray(good.heat[::-1, ::-1]))
    measured = list(measure(detector, item, [good, bad]))
    assert measured[0].hit
    assert not measured[1].hit
    assert measured[0].energy > 5 * measured[1].energy
    assert measured[0].deletion < measured[1].deletion - 0.2
    assert measured[0].insertion > measured[1].insertion + 0.2
    assert measured[0].size == size_of(good)
    rows = table(measured)
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("hirescam", measured[0].size, 1),
        ("hirescam", "all", 1),
        ("bad", measured[0].size, 1),
        ("bad", "all", 1),
    ]


def test_the_share_of_a_box_in_each_cell_is_exact(detector, item):
    (found,) = explain_item(detector, item, "neck", ["hirescam"], Choice(top=1))
    share = inside_box(found)
    scale = found.geometry.resized[0] / found.geometry.original[0]
    width, height = found.target.box[2:4]
    area = share.sum() * found.stride[0] * found.stride[1]
    assert area == pytest.approx(width * height * scale * scale, rel=0.01)
    assert share.max() <= 1 + 1e-9
    # The cells that it covers lie, by their recorded place, around the middle of the box.
    y, x = (
        float((share.sum(1 - axis) * (found.first[axis] + found.stride[axis] * np.arange(share.shape[axis]))).sum())
        / share.sum()
        for axis in (0, 1)
    )
    middle = np.array(found.target.box[:2]) * scale
    assert (x, y) == pytest.approx(tuple(middle), abs=0.1)


def test_the_most_important_pixels_lie_where_the_strongest_cell_lies(detector, item):
    (found,) = explain_item(detector, item, "neck", ["hirescam"], Choice(top=1))
    heat = np.zeros((20, 30), np.float32)
    heat[10, 12] = 1.0
    for first in ((0.5, 0.5), (4.0, 4.0), (7.0, 2.0)):
        moved = replace(found, heat=heat, place=Place((8.0, 8.0), first, "operators"))
        mask = _by_importance(moved, (160, 240))[1].numpy()  # some of the pixels
        y, x = (float(places.mean() + 0.5) for places in np.nonzero(mask))
        assert (y, x) == pytest.approx((first[0] + 80, first[1] + 96), abs=1.0)
