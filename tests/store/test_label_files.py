"""Each form of labels, and what is damaged in it."""

import json

import pytest

from featscope.errors import BadRunError
from featscope.store.label_files import Label, open_labels


def folder(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def test_dota(tmp_path):
    text = "imagesource:GoogleEarth\ngsd:0.1\n0 0 10 0 10 5 0 5 ship 0\n0 0 9 0 9 5 0 5 large-vehicle 2\n0 0 9 0 9 5 0 5 ship\n"
    labels = open_labels(folder(tmp_path, P0706=text))
    assert [one.stem for one in labels.images] == ["P0706"]
    assert labels.read(0, None) == [
        Label("quad", [0, 0, 10, 0, 10, 5, 0, 5], "ship"),
        Label("quad", [0, 0, 9, 0, 9, 5, 0, 5], "large-vehicle", "difficult"),
        Label("quad", [0, 0, 9, 0, 9, 5, 0, 5], "ship"),
    ]
    assert labels.problems == []


def test_classes_of_dota_may_have_several_words_or_be_numbers(tmp_path):
    lines = [f"0 0 10 0 10 5 0 5 {end}" for end in ("potted plant 1", "potted plant", "4 0")]
    labels = open_labels(folder(tmp_path, a="\n".join(lines)))
    found = [(one.label, one.ignored) for one in labels.read(0, None)]
    assert found == [("potted plant", "difficult"), ("potted plant", ""), ("4", "")]
    assert labels.problems == []


def test_yolo(tmp_path):
    labels = open_labels(folder(tmp_path, a="2 0.5 0.5 0.25 0.5\n0 0.1 0 0.5 0 0.5 1 0.1 1\n", classes="ship\n"))
    assert labels.needs_size
    assert [one.stem for one in labels.images] == ["a"]  # classes.txt is no label
    assert labels.read(0, (200, 100)) == [
        Label("xyxy", [37.5, 50, 62.5, 150], 2),
        Label("quad", [10, 0, 50, 0, 50, 200, 10, 200], 0),
    ]


DAMAGED = [
    ("0 0 10 0 10 5 0 5 ship 0", "0 0 10 0 10 ship 0", "7 words"),
    ("0 0 10 0 10 5 0 5 ship 0", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2 0.1 0.1", "11 words"),
    ("0 0 10 0 10 5 0 5 ship 0", "0 0 10 0 ten 5 0 5 ship 0", "'ten' is not a number"),
    ("0 0 10 0 10 5 0 5 ship 0", "0 0 10 0 nan 5 0 5 ship 0", "'nan' is not a number"),
    ("0 0 10 0 10 5 0 5 ship 0", "3 3 3 3 3 3 3 3 ship 0", "no area"),
    ("0 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1 0.1 0.9", "6 words"),
    ("0 0.5 0.5 0.1 0.1", "0 320 240 20 20", "not shares of the image"),
    ("0 0.5 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1", "class '0.5' is not an index"),
    ("0 0.5 0.5 0.1 0.1", "0 0.5 0.5 0 0.1", "no area"),
    ("0 0.5 0.5 0.1 0.1", "0 0.5 x 0.1 0.1", "'x' is not a number"),
]


@pytest.mark.parametrize(("good", "bad", "why"), DAMAGED)
@pytest.mark.parametrize("bad_first", [False, True])
def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path, good, bad, why, bad_first):
    labels = open_labels(folder(tmp_path, a=f"{bad}\n{good}\n" if bad_first else f"{good}\n{bad}\n", b=good))
    assert len(labels.read(0, (100, 100))) == 1
    (problem,) = labels.problems
    assert problem.startswith(f"{tmp_path / 'a.txt'}, line {1 if bad_first else 2}: ")
    assert why in problem


def test_the_first_line_that_is_known_tells_the_form(tmp_path):
    labels = open_labels(folder(tmp_path, a="0 0 10 0 10 5 0 5 ship 0\n0 0.5 0.5 0.1 0.1\n"))
    assert [one.form for one in labels.read(0, None)] == ["quad"]
    assert "line 2: 5 words in place of x1 y1" in labels.problems[0]


COCO = {
    "images": [{"id": 7, "file_name": "train\\bay.jpg", "width": 40, "height": 30}],
    "categories": [{"id": 3, "name": "ship", "supercategory": "vehicle"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 5], "segmentation": [[0, 0, 4, 1, 4, 5, 0, 4]]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": {"counts": [1]}},
        {
            "id": 3,
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 9, 9],
            "segmentation": [[0, 0, 4, 1, 4, 5, 0, 4, 1, 1]],
        },
        {
            "id": 4,
            "image_id": 7,
            "category_id": 3,
            "bbox": [0, 0, 9, 9],
            "segmentation": [[0, 0, 4, 1, 4, 5, 0, 4]] * 2,
        },
    ],
}


def coco_file(tmp_path, **changed):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({**COCO, **changed}))
    return path


def test_coco(tmp_path):
    labels = open_labels(coco_file(tmp_path))
    (image,) = labels.images
    assert (image.stem, image.folder, image.id, image.size) == ("bay", "train", "7", (30, 40))
    corners = [0, 0, 4, 1, 4, 5, 0, 4]
    assert labels.read(0, None) == [
        Label("xyxy", [1, 2, 11, 7], "ship", corners=corners),
        Label("xyxy", [0, 0, 9, 9], "ship", "crowd"),
        *[Label("xyxy", [0, 0, 9, 9], "ship")] * 2,
    ]
    rotated = [label.rotated() for label in labels.read(0, None)]
    assert rotated == [Label("quad", corners, "ship"), *labels.read(0, None)[1:]]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"image_id": 8}, "there is no image 8"),
        ({"category_id": 4}, "there is no category 4"),
        ({"bbox": [0, 0, 0, 5]}, "no area"),
        ({"bbox": [0, 0, 5]}, "length 4"),
        ({"bbox": "all"}, "bbox"),
    ],
)
def test_a_damaged_annotation_is_named_and_the_others_are_read(tmp_path, wrong, why):
    good = COCO["annotations"][0]
    labels = open_labels(coco_file(tmp_path, annotations=[good, {**good, **wrong}]))
    assert len(labels.read(0, None)) == 1
    (problem,) = labels.problems
    assert "instances.json, annotation 1: " in problem
    assert why in problem


def test_what_is_no_label_file_says_what_is(tmp_path):
    cases = [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "holds no .txt file"),
        (coco_file(tmp_path, categories=None), "is not COCO's JSON"),
    ]
    (tmp_path / "labels.xml").write_text("<a/>")
    cases.append((tmp_path / "labels.xml", "neither a .json file nor a folder"))
    for path, why in cases:
        with pytest.raises(BadRunError, match=why):
            open_labels(path)
    with pytest.raises(BadRunError, match=r"neither DOTA's lines .* the first is .*a.txt, line 1: 'ship 3 4'"):
        open_labels(folder(tmp_path, a="ship 3 4\n"))


def test_empty_files_are_images_without_objects(tmp_path):
    labels = open_labels(folder(tmp_path, a="", b="\n"))
    assert [labels.read(place, (9, 9)) for place in (0, 1)] == [[], []]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    labels = open_labels(folder(tmp_path, a="0 0.5 0.5 0.1 0.1", b="0 0.5 0.5 0.1 0.1"))
    (tmp_path / "b.txt").unlink()
    assert labels.read(1, (9, 9)) == []
    assert "b.txt cannot be read" in labels.problems[0]
