"""The objects of a run: its boxes, their partners, and what the maps hold there, however the run stores it."""

import numpy as np
import pytest

from featscope.analysis.objects import MapName, feature_layers, walk_objects
from featscope.arrays.image_boxes import BACKGROUND, TRUTH
from featscope.errors import BadRunError, UnknownNameError
from featscope.records import Boxes
from featscope.store.object_writer import ObjectWriter
from tests.analysis.runs import boxes, bright_map, write_run

SHIPS = [(64, 64, 48, 32, 0, 0), (184, 104, 32, 32, 0, 1)]  # on whole cells of level 0
FOUND = boxes((65, 64, 48, 32, 0, 0), (120, 200, 30, 30, 0, 1), scores=[0.9, 0.4])


@pytest.fixture
def images():
    return {name: (boxes(*SHIPS), FOUND) for name in ("a", "b", "c")}


@pytest.fixture
def layers(images):
    return [
        (layer, level, 8 << level, {name: bright_map(SHIPS, 8 << level, seed=ord(name)) for name in images})
        for layer in ("backbone", "neck")
        for level in (0, 1)
    ]


def test_what_maps_hold(tmp_path, images, layers):
    run = write_run(tmp_path / "run", images, layers)
    found = list(walk_objects(run, ["neck"], background=True))
    assert [one.sample.id for one in found] == ["a", "b", "c"]
    one = found[0]
    assert one.boxes.counts == (2, 2, 2)
    pooled = one.maps[MapName("neck", "", 0)]
    assert pooled.features[0, 0] == pytest.approx(5.0, abs=0.3)
    assert pooled.features[1, 1] == pytest.approx(5.0, abs=0.3)
    assert (pooled.ratio[:2] > 3).all()
    assert (np.abs(pooled.features[one.boxes.rows(BACKGROUND)]) < 1).all()
    assert one.strides[MapName("neck", "", 1)] == 16
    assert one.partners.tolist()[:4] == [0, -1, 0, -1]
    assert one.overlaps[0] == pytest.approx(47 / 49)
    assert np.isnan(one.overlaps[4])


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("executor", ["serial", "processes:2"])
def test_objects_stored_in_place_of_maps_are_the_same(tmp_path, images, layers, executor, background):
    whole = write_run(tmp_path / "maps", images, layers)
    small = write_run(tmp_path / "objects", images, layers, ObjectWriter)
    first, second = (walk_objects(run, background=background, executor=executor) for run in (whole, small))
    for one, two in zip(first, second):
        assert list(one.maps) == list(two.maps)
        assert np.array_equal(one.boxes.corners, two.boxes.corners)
        for name, pooled in one.maps.items():
            for values, others in zip(pooled, two.maps[name]):
                np.testing.assert_allclose(values, others, rtol=1e-6)


def test_other_ground_truth(tmp_path, images, layers):
    run = write_run(tmp_path / "run", images, layers)
    other = {"a": boxes((100, 100, 20, 20, 0, 0))}
    found = list(walk_objects(run, ["neck"], sample="[ab]", truth=other))
    assert [one.boxes.counts[0] for one in found] == [1, 0]
    small = write_run(tmp_path / "objects", images, layers, ObjectWriter)
    problems = next(iter(walk_objects(small, ["neck"], sample="a", truth=other))).problems
    assert "capture a run that stores maps, without --objects" in problems[0]


def test_a_damaged_map_costs_its_file_only(tmp_path, images, layers):
    run = write_run(tmp_path / "run", images, layers)
    (run / "neck.toy" / "batch_0_layer_0.npy").write_bytes(b"no array")
    first, second, _ = walk_objects(run, ["neck"])
    assert [str(name) for name in first.maps] == ["neck 1"]
    assert "batch_0_layer_0.npy" in first.problems[0]
    assert len(second.maps) == 2


def test_which_layers_are_features(tmp_path, images, layers):
    heads = [("head.cls_scores", 0, 8, layers[0][3])]
    run = write_run(tmp_path / "run", images, [*layers, *heads])
    from featscope.store.reader import open_run

    assert feature_layers(open_run(run)) == ["backbone", "neck"]


@pytest.mark.parametrize(
    ("truth", "found", "counts"),
    [
        (None, FOUND, (0, 2, 0)),
        (boxes(*SHIPS), None, (2, 0, 0)),
        (None, None, (0, 0, 0)),
        (boxes(*SHIPS), Boxes("cxcywha", [[0, 0, 2, 2, 0]], [0], [0.5], frame="input"), (2, 0, 0)),
    ],
)
def test_what_is_missing(tmp_path, truth, found, counts):
    run = write_run(tmp_path / "run", {"a": (truth, found)}, [])
    (one,) = walk_objects(run)
    assert one.boxes.counts == counts
    assert len(one.boxes.objects) == (counts[0] or counts[1])


def test_boxes_of_no_size_and_outside(tmp_path, layers):
    odd = boxes((100, 100, 0, 0, 0, 0), (-50, -50, 10, 10, 0, 0))
    run = write_run(tmp_path / "run", {"a": (odd, None)}, layers)
    (one,) = walk_objects(run, ["neck"])
    pooled = one.maps[MapName("neck", "", 0)]
    assert (pooled.cells[one.boxes.rows(TRUTH)] == 0).all()
    assert np.isnan(pooled.features[one.boxes.rows(TRUTH)]).all()


def test_what_cannot_be_answered(tmp_path, images, layers):
    run = write_run(tmp_path / "run", images, layers)
    with pytest.raises(UnknownNameError):
        list(walk_objects(run, sample="z"))
    folder = tmp_path / "bare" / "neck"
    folder.mkdir(parents=True)
    np.save(folder / "0.npy", np.zeros((1, 2, 3, 3)))
    with pytest.raises(BadRunError, match="no manifest"):
        list(walk_objects(folder.parent))


def test_two_samples_in_a_batch(tmp_path):
    """Their boxes follow one another in the table of a file."""
    from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
    from tests.analysis.runs import AXES, CLASSES, SIZE

    other = [(120, 200, 32, 32, 0, 1)]
    maps = np.stack([bright_map(SHIPS, 8), bright_map(other, 8)])
    geometry = Geometry((SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE))
    sink = ObjectWriter(tmp_path / "run", RunInfo(model="Toy", classes=CLASSES))
    place = Place((8, 8), (4, 4), "operators")
    sink.put(CapturedMap("neck", "Toy", "", 0, 0, 0, ["a", "b"], "neck.toy", AXES, place=place), maps)
    for name, truth in (("a", SHIPS), ("b", other)):
        sink.put_sample(Sample(name, "", 0, geometry, truth=boxes(*truth)), None)
    sink.close()
    for name, label in (("a", 0), ("b", 1)):
        (one,) = walk_objects(tmp_path / "run", sample=name)
        assert one.maps[MapName("neck", "", 0)].features[0, label] == pytest.approx(5, abs=0.3)
