"""Heads measured by their detections: boxes at a known offset from the cells they come from."""

import numpy as np
import pytest

from featscope.measuring.detections import detections_of, keep_places_of_heads, measure_detections
from featscope.records import Boxes, CapturedMap, Geometry, MeasuredPlace, Place, RunInfo, Sample, Source
from featscope.store.places import write_places
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

STRIDE, OFFSET, CLASSES = 8, (0.3, 0.7), 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def write(folder, random, kind="sigmoid", anchors=1, count=12, geometry=None, dtype=np.float32, frame="original"):
    """A run of four images with detections, whose scores stand in the maps of `head`."""
    geometry = geometry or Geometry((128, 160), (128, 160), (128, 160))
    writer = RunWriter(folder, RunInfo(model="Toy", classes=["a", "b", "c"]))
    place = Place((STRIDE, STRIDE), (0.5, 0.5), "operators")
    for batch in range(4):
        logits = random.normal(size=(1, CLASSES * anchors, 16, 20)).astype(dtype)
        objects = random.normal(size=(1, anchors, 16, 20)).astype(dtype)
        boxes, labels, scores, sources = [], [], [], []
        for _ in range(count):
            row, column, anchor = (int(random.integers(low, high)) for low, high in ((3, 12), (3, 16), (0, anchors)))
            label = int(random.integers(CLASSES))
            y, x = (STRIDE * (cell + at + random.normal(0, 0.05)) for cell, at in zip((row, column), OFFSET))
            score = sigmoid(float(logits[0, anchor * CLASSES + label, row, column]))
            if kind == "product":
                score *= sigmoid(float(objects[0, anchor, row, column]))
            elif kind == "elsewhere":
                score = float(random.random())
            y, x = map(float, original(y, x, geometry))
            boxes.append([x - 6, y - 4, x + 6, y + 4])
            labels.append(label)
            scores.append(float(score))
            sources.append([Source("cell", 0, 0, row, column, anchor)])
        found = Boxes("xyxy", boxes, labels, scores, frame)
        name = f"image[{batch}]"
        writer.put_sample(
            Sample(
                name,
                batch=batch,
                geometry=geometry if frame == "original" else None,
                predictions=found,
                sources=sources,
            )
        )
        for layer, field, array in (
            ("neck", "", random.normal(size=(1, 64, 16, 20))),
            ("head", "cls_scores", logits),
            ("head", "objectness", objects),
            ("head", "bbox_preds", random.normal(size=(1, 4 * anchors, 16, 20))),
            ("head", "coarse", random.normal(size=(1, 4, 8, 10))),
        ):
            axes = ("sample", "channel", "row", "column")
            captured = CapturedMap(
                layer, "Toy", field, 0, 0, batch, [name], f"{layer}.{field or 'x'}", axes, place=place
            )
            writer.put(captured, array.astype(dtype))
    writer.close()
    return open_run(folder)


def original(y, x, geometry):
    """Input to original, for the geometries of this test."""
    y, x = y - geometry.offset[0], x - geometry.offset[1]
    if geometry.flip == "horizontal":
        x = geometry.resized[1] - x
    top, left, height, width = geometry.crop or (0, 0, *geometry.original)
    return top + y * height / geometry.resized[0], left + x * width / geometry.resized[1]


@pytest.mark.parametrize(("kind", "anchors"), [("sigmoid", 1), ("sigmoid", 3), ("product", 1), ("product", 2)])
def test_the_offset_of_a_head_is_found_and_of_no_other_layer(tmp_path, random, kind, anchors):
    places = measure_detections(write(tmp_path / "run", random, kind, anchors))
    assert {(place.layer, place.field) for place in places} == {
        ("head", "cls_scores"),
        ("head", "objectness"),
        ("head", "bbox_preds"),
    }
    for place in places:
        assert place.refused == ""
        assert place.offset == pytest.approx(OFFSET, abs=0.05)
        assert (place.count, place.by, place.stride) == (48, "detections", (8, 8))


def test_what_is_narrow_enough_is_kept_at_the_end_of_a_capture(tmp_path, random):
    run = write(tmp_path / "run", random)
    run.places["neck", "", 0] = MeasuredPlace("neck", "", 0, (8, 8), (0.1, 0.1), (0.1, 0.1), 9, "gradient")
    write_places(tmp_path / "run", run.info.started, list(run.places.values()))
    keep_places_of_heads(tmp_path / "run")
    kept = open_run(tmp_path / "run").places
    assert set(kept) == {
        ("neck", "", 0),
        ("head", "cls_scores", 0),
        ("head", "objectness", 0),
        ("head", "bbox_preds", 0),
    }
    assert kept["head", "cls_scores", 0].offset == pytest.approx(OFFSET, abs=0.05)


@pytest.mark.parametrize("samples", [0, 1])
def test_nothing_is_written_where_nothing_is_kept(tmp_path, random, samples):
    write(tmp_path / "run", random, count=2)
    keep_places_of_heads(tmp_path / "run", samples)
    keep_places_of_heads(tmp_path / "no run")
    assert not (tmp_path / "run" / "places.json").exists()
    assert not (tmp_path / "no run").exists()


def test_boxes_that_the_edge_may_have_cut_off_are_passed_over():
    inside, cut = [10.0, 10.0, 30.0, 20.0], [[0.2, 10, 30, 20], [10, 0.0, 30, 20], [10, 10, 39.8, 20], [10, 10, 30, 30]]
    boxes = Boxes("xyxy", [inside, *cut], [0] * 5, [0.9] * 5)
    sources = [[Source("cell", 0, 0, 1, 2)]] * 5
    sample = Sample("a", geometry=Geometry((30, 40), (30, 40), (32, 40)), predictions=boxes, sources=sources)
    assert [found.centre for found in detections_of([sample])] == [(15.0, 20.0)]


def test_half_precision_is_enough(tmp_path, random):
    assert len(measure_detections(write(tmp_path / "run", random, dtype=np.float16))) == 3


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry((256, 320), (128, 160), (160, 160), offset=(16, 0)),
        Geometry((128, 160), (128, 160), (128, 160), flip="horizontal"),
        Geometry((400, 500), (128, 160), (128, 160), crop=(40, 30, 256, 320)),
    ],
)
def test_boxes_are_taken_to_the_input(tmp_path, random, geometry):
    for place in measure_detections(write(tmp_path / "run", random, geometry=geometry)):
        assert place.offset == pytest.approx(OFFSET, abs=0.05)


def test_scores_that_stand_in_no_map_prove_no_head(tmp_path, random):
    assert measure_detections(write(tmp_path / "run", random, "elsewhere")) == []


def test_few_detections_are_too_few(tmp_path, random):
    places = measure_detections(write(tmp_path / "run", random, count=1))
    assert [place.refused for place in places] == ["only 4 were measured; 8 are needed"] * 3


def test_a_run_without_sources_has_nothing_to_measure(run):
    assert measure_detections(open_run(run)) == []


def test_boxes_of_an_image_of_no_known_geometry_lie_in_the_input(tmp_path, random):
    places = measure_detections(write(tmp_path / "run", random, frame="input"))
    assert [place.offset == pytest.approx(OFFSET, abs=0.05) for place in places] == [True] * 3
