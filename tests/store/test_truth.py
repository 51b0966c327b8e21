"""Labels matched to the samples of a run; what does not match is named."""

import json

import pytest

from featscope.errors import BadRunError
from featscope.records import Boxes, Geometry, RunInfo, Sample
from featscope.store.reader import open_run
from featscope.store.truth import TruthReader, read_truth
from featscope.store.writer import RunWriter

SHIP = "0 0 10 0 10 5 0 5 ship 0\n"
QUAD = [0.0, 0.0, 10.0, 0.0, 10.0, 5.0, 0.0, 5.0]


@pytest.fixture
def labels(tmp_path):
    (tmp_path / "labels").mkdir()
    return tmp_path / "labels"


def run_of(tmp_path, *samples, classes=("plane", "ship")):
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy", classes=list(classes)))
    for sample in samples:
        writer.put_sample(sample, None)
    writer.close()
    return open_run(tmp_path / "run")


def image(path, name="", size=(20, 40)):
    return Sample(name or path.rpartition("/")[2].partition(".")[0], path, geometry=Geometry(size, size, size))


def test_files_are_matched_by_name_and_classes_by_name(tmp_path, labels):
    run = run_of(tmp_path, image("/data/P1.png"), image("/data/P2.png"), image("/data/P3.png"))
    (labels / "P1.txt").write_text(SHIP + SHIP.replace("ship 0", "plane 1"))
    (labels / "P2.txt").write_text("")
    (labels / "P9.txt").write_text(SHIP)
    found = read_truth(labels, run)
    assert found.boxes == {
        "P1": Boxes("quad", [QUAD, QUAD], [1, 0], ignored=["", "difficult"]),
        "P2": Boxes("xyxy", [], []),
    }
    assert found.notes == [
        f"{labels}: 1 sample with no labels: P3",
        f"{labels}: 1 labelled image that the run lacks: P9",
    ]


def test_classes_that_the_model_lacks_and_damaged_lines_are_counted(tmp_path, labels):
    run = run_of(tmp_path, image("/data/P1.png"))
    (labels / "P1.txt").write_text(SHIP + SHIP.replace("ship", "boat") * 2 + "0 0 1 1 ship 0\n")
    found = read_truth(labels, run)
    assert found.boxes["P1"].labels == [1]
    assert found.notes == [
        f"{labels}: 2 boxes of classes that the model lacks: boat (2)",
        f"{labels}: 1 damaged label: {labels / 'P1.txt'}, line 4: 6 words in place of x1 y1 x2 y2 x3 y3 x4 y4 class difficult",
    ]


def test_yolo_takes_the_size_from_the_sample_and_classes_by_index(tmp_path, labels):
    run = run_of(tmp_path, image("/data/a.png"), Sample("b", "/data/b.png"))
    for name in "ab":
        (labels / f"{name}.txt").write_text("1 0.5 0.5 0.5 0.5\n5 0.5 0.5 0.5 0.5\n")
    found = read_truth(labels, run)
    assert found.boxes == {"a": Boxes("xyxy", [[10, 5, 30, 15]], [1])}
    assert found.notes == [
        f"{labels}: 1 sample with labels that do not fit: b (the size of its image is unknown)",
        f"{labels}: 1 box of classes that the model lacks: 5 (1)",
    ]


def test_upright_boxes_become_quadrilaterals_beside_others(tmp_path, labels):
    run = run_of(tmp_path, image("/data/a.png"))
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0 0 0.25 0 0.25 0.25 0 0.25\n")
    assert read_truth(labels, run).boxes["a"] == Boxes(
        "quad", [[10, 5, 30, 5, 30, 15, 10, 15], [0, 0, 10, 0, 10, 5, 0, 5]], [0, 1]
    )


def coco(tmp_path, *images, **others):
    held = {
        "images": [{"id": number, **one} for number, one in enumerate(images)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [
            {"image_id": number, "category_id": 1, "bbox": [number, 0, 5, 5], **others} for number in range(len(images))
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(held))
    return tmp_path / "instances.json"


def test_coco_by_file_name_or_by_id(tmp_path):
    run = run_of(tmp_path, image("/data/a.png", "7"), Sample("1"), image("/data/c.png", "2"))
    path = coco(tmp_path, {"file_name": "a.jpg"}, {"file_name": "b.jpg"}, {"file_name": "other.jpg"})
    found = read_truth(path, run)
    assert {name: boxes.boxes[0][0] for name, boxes in found.boxes.items()} == {"7": 0, "1": 1}
    # The sample 2 has the id of an image with another file name: it is another image.
    assert found.notes[0] == f"{path}: 1 sample with no labels: 2"


def test_crowds_are_ignored(tmp_path):
    run = run_of(tmp_path, image("/data/a.png"))
    assert read_truth(coco(tmp_path, {"file_name": "a.jpg"}, iscrowd=1), run).boxes["a"].ignored == ["crowd"]


def test_polygons_of_coco_are_boxes_where_asked(tmp_path):
    run = run_of(tmp_path, image("/data/a.png"))
    path = coco(tmp_path, {"file_name": "a.jpg"}, segmentation=[QUAD])
    assert read_truth(path, run).boxes["a"] == Boxes("xyxy", [[0, 0, 5, 5]], [1])
    assert read_truth(path, run, rotated=True).boxes["a"] == Boxes("quad", [QUAD], [1])


def test_labels_of_an_image_of_another_size_are_not_used(tmp_path):
    run = run_of(tmp_path, image("/data/a.png"), image("/data/b.png"))
    path = coco(
        tmp_path, {"file_name": "a.jpg", "width": 20, "height": 40}, {"file_name": "b.jpg", "width": 40, "height": 20}
    )
    found = read_truth(path, run)
    assert list(found.boxes) == ["b"]
    assert "a (the labels are of 40 x 20 pixels, the image has 20 x 40)" in found.notes[0]


def test_equal_names_are_told_apart_by_their_folders(tmp_path, labels):
    run = run_of(tmp_path, image("/x/left/a.png", "a"), image("/x/right/a.png", "right_a"))
    for number, side in enumerate(("left", "right")):
        (labels / side).mkdir()
        (labels / side / "a.txt").write_text(f"{number} 0.5 0.5 0.5 0.5\n")
    found = read_truth(labels, run)
    assert {name: boxes.labels for name, boxes in found.boxes.items()} == {"a": [0], "right_a": [1]}
    assert found.notes == []


def test_equal_names_that_cannot_be_told_apart_are_not_used(tmp_path, labels):
    run = run_of(tmp_path, image("/x/left/a.png", "a"), image("/x/right/a.png", "right_a"), image("/x/b.png"))
    for name in "ab":
        (labels / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    found = read_truth(labels, run)
    assert list(found.boxes) == ["b"]
    assert found.notes == [f"{labels}: 1 name with several images or several labels, which are not used: a"]


def test_folders_of_one_name_tell_nothing(tmp_path, labels):
    run = run_of(tmp_path, image("/x/left/a.png", "a"), image("/y/left/a.png", "other"), image("/x/b.png"))
    (labels / "left").mkdir()
    for file in (labels / "left" / "a.txt", labels / "b.txt"):
        file.write_text("0 0.5 0.5 0.5 0.5\n")
    assert list(read_truth(labels, run).boxes) == ["b"]


def test_views_of_one_image_have_the_same_truth(tmp_path, labels):
    run = run_of(tmp_path, image("/data/a.png"), image("/data/a.png", "a_view1"))
    (labels / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    assert set(read_truth(labels, run).boxes) == {"a", "a_view1"}


def test_frames_of_a_film_are_matched_by_their_ids(tmp_path, labels):
    frames = [Sample(f"film_{number}", "/data/film.mp4", frame=number) for number in range(2)]
    run = run_of(tmp_path, *frames)
    (labels / "film_1.txt").write_text(SHIP)
    assert list(read_truth(labels, run).boxes) == ["film_1"]


def test_nothing_that_matches_is_an_error(tmp_path, labels):
    run = run_of(tmp_path, image("/data/a.png"))
    (labels / "b.txt").write_text(SHIP)
    with pytest.raises(BadRunError, match=r"no image has labels in .*: they are of b\. The names"):
        read_truth(labels, run)
    (labels / "a.txt").write_text(SHIP.replace("ship", "boat"))
    with pytest.raises(BadRunError, match="has none of the classes in .*: boat; its classes are plane, ship"):
        read_truth(labels, run)


def test_a_folder_of_arrays_has_no_samples(tmp_path, labels, run):
    (run / "run.json").unlink()
    with pytest.raises(BadRunError, match="has no manifest"):
        read_truth(labels, open_run(run))


def test_notes_name_five_and_count_all(tmp_path, labels):
    (labels / "a.txt").write_text("")
    samples = [image(f"/data/{name}.png") for name in "abcdefgh"]
    reader = TruthReader(labels, [], samples)
    for sample in samples:
        reader.boxes_of(sample)
    assert reader.notes() == [f"{labels}: 7 samples with no labels: b, c, d, e, f and 2 more"]
