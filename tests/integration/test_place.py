"""Measured places of trained detectors: their heads' cells lie on the boxes that they make."""

import numpy as np
import pytest

from featscope.adapters.feeding import capture_images, list_images
from featscope.cli import main
from featscope.measuring.detections import detections_of, measure_detections
from featscope.measuring.estimate import estimate
from featscope.store.reader import open_run

from .test_explaining import AERIAL, NATURAL, s2anet, yolox

CASES = {
    # name: detector, layers, images, offset of the operators' places, off by half a cell
    "s2anet": (s2anet, ["bbox_head_refine"], [AERIAL / "dota8_train/images", AERIAL / "dota_devkit/images"], "assumed"),
    "yolox": (yolox, ["bbox_head"], [NATURAL / "coco_val"], "operators"),
}


@pytest.mark.parametrize("name", CASES)
def test_heads_are_centred_on_the_boxes_of_other_images(name, tmp_path):
    detector, layers, images, worse = CASES[name]
    capture_images(detector(), list_images(images), tmp_path / "run", layers)
    run = open_run(tmp_path / "run")
    found = list(detections_of(run.samples.values()))
    off = {"assumed": [], "operators": [], "measured": []}
    for place in measure_detections(run):
        if place.field != "cls_scores":
            continue
        own = [one for one in found if one.source.level == place.level]
        offsets = np.array([one.centre for one in own]) / place.stride
        offsets -= np.array([(one.source.row, one.source.column) for one in own])
        image = np.array([one.image for one in own])
        record = run.select(layer=place.layer, level=place.level)[0].record
        followed = np.array(record.first) / record.stride
        for number in np.unique(image):  # what one image shows is not measured on it
            rest = estimate(offsets[image != number], image[image != number])
            measured = followed if rest.refused else rest.offset
            for known, at in (("assumed", (0.5, 0.5)), ("operators", followed), ("measured", measured)):
                off[known].append(at - offsets[image == number])
    mean = {known: np.concatenate(some).mean(0) for known, some in off.items()}
    assert len(np.concatenate(off["measured"])) > 200
    assert np.abs(mean["measured"]).max() < 0.1
    assert np.abs(mean[worse]).min() > 0.3


def test_a_neck_that_mixes_coarser_paths_stays_where_it_was(tmp_path, capsys):
    if not AERIAL.exists():
        pytest.skip("needs the images beside the project")
    photos = list_images([AERIAL / "dota8_train/images"])
    capture_images(s2anet(), photos, tmp_path / "run", ["neck"])
    with pytest.raises(SystemExit) as left:
        main(["place", str(tmp_path / "run"), "--most", "4", "--cells", "5"])
    assert left.value.code == 0, capsys.readouterr().err
    run = open_run(tmp_path / "run")
    assert run.places["neck", "", 0].refused
    assert run.select(layer="neck", level=0)[0].place().known == "operators"
    place = run.select(layer="neck", level=3)[0].place()
    assert place.known == "measured"
    assert np.abs(np.array(place.first) / place.stride).max() < 0.15
