"""Average precision equals that of pycocotools, MMDetection and MMRotate, on random boxes and on real detections."""

import contextlib
import io
import json

import numpy as np
import pytest

from featscope.analysis.evaluated import COCO_IOUS, COCO_MAXIMUM, evaluate, evaluate_at
from featscope.arrays.boxes import areas_of, iou_of
from featscope.records import Boxes
from featscope.store.reader import open_run
from featscope.store.truth import read_truth

from .conftest import SHARED, featscope

CLASSES = 4


def random_images(form, ignored=(), images=12, seed=0):
    """Noisy copies of the objects and boxes that lie anywhere; no two scores are equal."""
    random = np.random.default_rng(seed)
    scores = random.permutation(100_000) / 100_000
    for number in range(images):
        objects, found = int(random.integers(1, 40)), int(random.integers(0, 300))
        truth = np.hstack([random.uniform(0, 600, (objects, 2)), random.uniform(6, 150, (objects, 2))])
        labels = random.integers(0, CLASSES - 1, objects)  # the last class has no object
        source = random.integers(0, objects, found)
        boxes = truth[source] + random.normal(0, 0.1, (found, 4)) * truth[source][:, [2, 3, 2, 3]]
        boxes[:, 2:] = boxes[:, 2:].clip(3)
        anywhere = random.random(found) < 0.2
        boxes[anywhere, :2] = random.uniform(0, 1200, (anywhere.sum(), 2))
        guessed = np.where(random.random(found) < 0.8, labels[source], random.integers(0, CLASSES, found))
        if form == "xyxy":
            boxes, truth = (np.hstack([some[:, :2], some[:, :2] + some[:, 2:]]) for some in (boxes, truth))
        else:
            angles = random.uniform(-1.5, 1.5, objects)
            truth = np.hstack([truth, angles[:, None]])
            boxes = np.hstack([boxes, (angles[source] + random.normal(0, 0.1, found))[:, None]])
        why = random.choice(["", *ignored], objects, p=[1 - 0.1 * len(ignored), *[0.1] * len(ignored)]).tolist()
        why[0] = ""  # MMRotate drops the ignored objects of an image without others
        yield (
            Boxes(form, boxes.tolist(), guessed.tolist(), scores[number * 300 :][:found].tolist()),
            Boxes(form, truth.tolist(), labels.tolist(), ignored=why if ignored else []),
        )


def by_coco(images, classes, ious, areas=None):
    """The average precision of each IoU and class by pycocotools; NaN where it has none."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    annotations, results = [], []
    for image, (found, truth) in enumerate(images):
        for box, label, why, area in zip(
            truth.boxes, truth.labels, truth.ignored or [""] * len(truth.boxes), areas_of("xyxy", truth.boxes)
        ):
            place = {"image_id": image, "category_id": label, "bbox": _sides(box), "area": area}
            annotations.append({**place, "id": len(annotations) + 1, "iscrowd": int(why == "crowd")})
        results += [
            {"image_id": image, "category_id": label, "bbox": _sides(box), "score": score}
            for box, label, score in zip(found.boxes, found.labels, found.scores)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array(ious)
        if areas:
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(areas)], ["these"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1].mean(1)
    return np.where(precision < 0, np.nan, precision)


def _sides(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def by_openmmlab(images, classes, mode, rotated, **options):
    """The average precision of each class by MMRotate or MMDetection; NaN where it has none."""
    numbers = 5 if rotated else 4
    detections, annotations = [], []
    for found, truth in images:
        boxes = np.hstack([np.reshape(found.boxes, (-1, numbers)), np.reshape(found.scores, (-1, 1))])
        detections.append([boxes[np.array(found.labels, int) == label] for label in range(classes)])
        true, labels = np.reshape(truth.boxes, (-1, numbers)), np.array(truth.labels, int)
        out = np.array(truth.ignored or [""] * len(labels), str) != ""
        annotations.append(
            {"bboxes": true[~out], "labels": labels[~out], "bboxes_ignore": true[out], "labels_ignore": labels[out]}
        )
    if rotated:
        evaluate_map = pytest.importorskip("mmrotate.evaluation", reason="needs MMRotate: see README").eval_rbbox_map
        options["use_07_metric"] = mode == "11points"
    else:
        evaluate_map = pytest.importorskip("mmdet.evaluation", reason="needs MMDetection: see README").eval_map
        options["eval_mode"] = mode
    _, results = evaluate_map(detections, annotations, logger="silent", nproc=1, **options)
    objects = sum(np.bincount(one["labels"], minlength=classes) for one in annotations)
    return np.where(objects > 0, [float(np.squeeze(one["ap"])) for one in results], np.nan)


def equal(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert np.nanmax(wanted) > 0.05, "there must be something to compare"


@pytest.mark.parametrize("areas", [None, (0, 32**2), (32**2, 96**2), (96**2, 1e10)])
@pytest.mark.parametrize("seed", range(3))
def test_random_boxes_as_pycocotools(areas, seed):
    images = list(random_images("xyxy", ["crowd"], seed=seed))
    at = evaluate_at(images, COCO_IOUS, "coco", maximum=COCO_MAXIMUM, areas=areas or (0, 1e10))
    equal([one.average_precisions(CLASSES, "coco") for one in at], by_coco(images, CLASSES, COCO_IOUS, areas))


def test_more_detections_than_coco_counts():
    images = list(random_images("xyxy", images=3))
    found, truth = images[0]
    many = Boxes(
        "xyxy", found.boxes * 4, [0] * 4 * len(found.boxes), np.linspace(0.9, 0.1, 4 * len(found.boxes)).tolist()
    )
    images[0] = (many, truth)
    assert len(many.boxes) > COCO_MAXIMUM
    at = evaluate(images, 0.5, "coco", maximum=COCO_MAXIMUM)
    equal(at.average_precisions(CLASSES, "coco"), by_coco(images, CLASSES, [0.5])[0])


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("mode", ["area", "11points"])
@pytest.mark.parametrize("min_iou", [0.5, 0.75])
def test_random_boxes_as_openmmlab(rotated, mode, min_iou):
    images = list(random_images("cxcywha" if rotated else "xyxy", ["difficult"]))
    ours = evaluate(images, min_iou).average_precisions(CLASSES, mode)
    equal(ours, by_openmmlab(images, CLASSES, mode, rotated, iou_thr=min_iou))


def test_random_boxes_of_one_size_as_mmdetection():
    images = list(random_images("xyxy", ["difficult"]))
    ours = evaluate(images, areas=(32**2, 96**2)).average_precisions(CLASSES)
    equal(ours, by_openmmlab(images, CLASSES, "area", rotated=False, scale_ranges=[(32, 96)]))


DOTA = SHARED / "data" / "aerial" / "dota_devkit"


def pairs(folder):
    opened = open_run(folder)
    return opened.info.classes, [(sample.predictions, sample.truth) for sample in opened.samples.values()]


@pytest.fixture(scope="module")
def aerial(mmrotate_root, tmp_path_factory):
    """What S2ANet-tiny finds on two aerial images, and their ground truth, in which difficult objects are ignored."""
    folder = tmp_path_factory.mktemp("aerial") / "run"
    model = [SHARED / "models" / f"s2anet_tiny.{suffix}" for suffix in ("py", "pth")]
    option = "test_dataloader.dataset.diff_thr=0"
    featscope("capture", *model, "-l", "neck", "-r", "mean", "--cfg-options", option, "-o", folder)
    return folder


@pytest.mark.parametrize("mode", ["area", "11points"])
def test_real_rotated_boxes_as_mmrotate(aerial, mode):
    classes, images = pairs(aerial)
    assert sum(why == "difficult" for _, truth in images for why in truth.ignored) > 10
    ours = evaluate(images).average_precisions(len(classes), mode)
    equal(ours, by_openmmlab(images, len(classes), mode, rotated=True))


def test_the_truth_of_a_data_set_is_that_of_its_files(aerial):
    """MMRotate makes rectangles of DOTA's quadrilaterals; which are ignored, and their classes, are the same."""
    opened = open_run(aerial)
    read = read_truth(DOTA / "labelTxt", opened)
    assert read.notes == []
    for name, sample in opened.samples.items():
        mine, its = read.boxes[name], sample.truth
        iou = iou_of(mine.form, mine.boxes, its.form, its.boxes)
        assert len(mine.boxes) == len(its.boxes)
        partner = iou.argmax(1)
        assert len(set(partner)) == len(partner)
        assert np.median(iou.max(1)) > 0.9
        assert mine.labels == [its.labels[place] for place in partner]
        assert mine.ignored == [its.ignored[place] for place in partner]


@pytest.fixture(scope="module")
def natural(mmdet_root, tmp_path_factory):
    """What YOLOX-nano finds on four photos, run by its config's test loop and by hand; one object is a crowd."""
    folder, data = tmp_path_factory.mktemp("natural"), SHARED / "data" / "natural" / "coco8_train"
    held = json.loads((data / "annotations.json").read_text())
    held["annotations"][0]["iscrowd"] = 1
    (folder / "coco.json").write_text(json.dumps(held))
    model = [
        mmdet_root / ".mim" / "configs" / "yolox" / "yolox_nano_8xb8-300e_coco.py",
        SHARED / "models" / "yolox_nano_coco_mmdet.pth",
    ]
    store = ["-l", "neck", "-r", "mean"]
    options = {
        "test_dataloader.dataset.data_root": f"{data}/",
        "test_dataloader.dataset.ann_file": folder / "coco.json",
        "test_dataloader.dataset.data_prefix.img": "images/",
        "test_dataloader.num_workers": 0,
        "test_dataloader.persistent_workers": False,
        "test_evaluator.ann_file": folder / "coco.json",
    }
    config = [word for name, value in options.items() for word in ("--cfg-options", f"{name}={value}")]
    featscope("capture", *model, *store, *config, "-o", folder / "tested")
    given = ["-i", data / "images", "--annotations", folder / "coco.json"]
    featscope("capture", *model, *store, *given, "-o", folder / "given")
    return folder


def test_real_photos_as_pycocotools_and_mmdetection(natural):
    classes, images = pairs(natural / "given")
    assert [why for _, truth in images for why in truth.ignored].count("crowd") == 1
    at = evaluate_at(images, COCO_IOUS, "coco", maximum=COCO_MAXIMUM)
    equal([one.average_precisions(len(classes), "coco") for one in at], by_coco(images, len(classes), COCO_IOUS))
    ours = evaluate(images).average_precisions(len(classes))
    equal(ours, by_openmmlab(images, len(classes), "area", rotated=False))


def test_a_test_loop_and_labels_give_the_same_truth(natural):
    tested, given = (open_run(natural / name).samples for name in ("tested", "given"))
    by_path = {sample.path: sample.truth for sample in tested.values()}
    assert len(given) == len(tested) == 4
    for sample in given.values():
        mine, its = sample.truth, by_path[sample.path]
        order = np.argsort([why != "" for why in mine.ignored] or [False] * len(mine.boxes), kind="stable")
        np.testing.assert_allclose(np.array(mine.boxes)[order], its.boxes, atol=1e-3)
        assert np.array(mine.labels)[order].tolist() == its.labels
        assert sorted(mine.ignored) == sorted(its.ignored)
