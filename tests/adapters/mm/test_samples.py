"""What is read from a pipeline's words; the data samples themselves are read in tests/integration."""

import numpy as np
import pytest
import torch

from featscope.adapters.mm.samples import (
    AnnotationFrame,
    Annotations,
    annotation_frame,
    annotations_of,
    before_normalisation,
    believed_geometry,
    boxes_of,
    geometry_of,
    path_of,
    picture_of,
    sample_id,
    truth_of,
)
from featscope.records import Boxes, Geometry


def test_ids_are_believed_where_they_are_the_data_sets_own():
    given = {"img_id": 0, "img_path": "photos/harbour.jpg"}  # MMDetection numbers every photo 0
    assert sample_id(given) == "0"
    assert sample_id(given, of_data_set=False) == "harbour"
    assert sample_id({"img_id": 0, "img_path": None}, of_data_set=False) == ""
    assert path_of({"img_path": ["front.png", "back.png"]}) == ""
    assert path_of({"img_path": None}) == ""


def test_geometry_is_what_the_pipeline_says():
    meta = {"ori_shape": (40, 60), "img_shape": (20, 30), "scale_factor": (0.5, 0.5), "flip": True}
    assert geometry_of(meta) == Geometry((40, 60), (20, 30), (20, 30), flip="horizontal")
    assert geometry_of(meta, (32, 32)).padded == (32, 32)
    assert geometry_of({"ori_shape": [(40, 60), (40, 60)]}) is None  # several cameras
    assert geometry_of({}) is None
    # Padded to 2400 pixels, then made smaller: the image's sides end between pixels.
    padded_first = geometry_of({"ori_shape": (170, 193), "img_shape": (640, 640), "scale_factor": (0.26667, 0.26667)})
    assert padded_first.resized == pytest.approx((45.33, 51.47), abs=0.01)
    assert geometry_of({**meta, "scale_factor": (0.5 + 1e-8, 0.5)}).resized == (20, 30)


class Plain:
    def predict_by_feat(self, metas):
        return [meta["scale_factor"] for meta in metas]


class TakesPaddingAway:
    def predict_by_feat(self, metas):
        return [meta["pad_param"] for meta in metas]


def instances(boxes):
    return Instances(bboxes=torch.tensor(boxes), labels=torch.zeros(len(boxes), dtype=torch.long))


class Instances(dict):
    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(("head", "padding"), [(Plain(), 0), (TakesPaddingAway(), 6)])
def test_predictions_lie_on_the_original_whatever_the_framework_leaves_undone(head, padding):
    """A box at (10, 4) to (30, 12) of the original, as a head gives it that knows of the scale and not of the mirror."""
    meta = {
        "ori_shape": (40, 60),
        "scale_factor": (0.5, 0.5),
        "img_shape": (32, 32),
        "flip": True,
        "pad_param": (6, 6, 1, 1),
    }
    geometry = geometry_of(meta)
    assert (geometry.offset, geometry.resized) == ((6, 1), (20, 30))
    in_input = np.array([[1 + 30 - 15.0, 6 + 2.0, 1 + 30 - 5.0, 6 + 6.0]])
    given = (in_input - [0 if padding == 0 else 1, padding, 0 if padding == 0 else 1, padding]) / 0.5
    found = boxes_of(instances(given.tolist()), believed_geometry(meta, geometry, head), geometry)
    np.testing.assert_allclose(found.boxes, [[10, 4, 30, 12]])


def test_what_the_framework_gives_stays_as_it_is_where_it_is_right():
    meta = {"ori_shape": (1182, 1111), "scale_factor": (962 / 1111, 1024 / 1182), "img_shape": (1024, 962)}
    geometry = geometry_of(meta)
    given = [[0.1, 0.2, 0.3, 0.7]]
    assert believed_geometry(meta, geometry) == geometry
    assert boxes_of(instances(given), believed_geometry(meta, geometry), geometry).boxes == torch.tensor(given).tolist()


def test_truth_is_in_the_frame_that_the_pipeline_leaves_it_in():
    data = {"gt_instances": instances([[10.0, 4.0, 30.0, 12.0]])}
    for frame in (AnnotationFrame.ORIGINAL, AnnotationFrame.INPUT, AnnotationFrame.MIRRORED):
        made = truth_of(data, Annotations(frame, "difficult"))
        assert made == Boxes("xyxy", [[10, 4, 30, 12]], [0], frame=frame.value)
    assert truth_of(data, Annotations(AnnotationFrame.UNKNOWN, "difficult")) is None
    assert truth_of(data, None) is None


@pytest.mark.parametrize("word", ["crowd", "difficult"])
def test_ignored_objects_come_last_and_say_why(word):
    box, other = [10.0, 4.0, 30.0, 12.0], [0.0, 0.0, 5.0, 5.0]
    known = Annotations(AnnotationFrame.ORIGINAL, word)
    both = truth_of({"gt_instances": instances([box]), "ignored_instances": instances([other])}, known)
    assert both == Boxes("xyxy", [box, other], [0, 0], ignored=["", word])
    alone = truth_of({"gt_instances": Instances(), "ignored_instances": instances([other])}, known)
    assert alone == Boxes("xyxy", [other], [0], ignored=[word])
    assert truth_of({"gt_instances": instances([box]), "ignored_instances": Instances()}, known).ignored == []


class Step:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def pipeline(*names, **attributes):
    return Step(transforms=[type(name, (Step,), {})() for name in names], **attributes)


def test_annotations_follow_what_comes_behind_them():
    def frame(*names):
        return annotation_frame(Step(pipeline=pipeline(*names)))

    assert frame("Resize", "RandomFlip", "LoadAnnotations") is AnnotationFrame.ORIGINAL
    assert frame("Resize", "LoadAnnotations", "Pad", "PhotoMetricDistortion") is AnnotationFrame.ORIGINAL
    assert frame("LoadAnnotations", "Resize", "CenterCrop", "RandomFlip") is AnnotationFrame.INPUT
    assert frame("Resize", "LoadPanopticAnnotations", "RandomFlip") is AnnotationFrame.MIRRORED
    assert frame("Resize", "LoadAnnotations", "RandomCrop") is AnnotationFrame.UNKNOWN
    augmented = pipeline("LoadAnnotations")
    augmented.transforms.append(Step(subroutines=[pipeline("Resize", "RandomFlip")]))
    assert annotation_frame(Step(pipeline=augmented)) is AnnotationFrame.INPUT
    assert annotation_frame(None) is None


def test_what_ignored_means_is_told_by_the_data_set():
    names = {"CocoDataset": "crowd", "DOTADataset": "difficult", "VOCDataset": "difficult"}
    for name, word in names.items():
        base = type(name, (Step,), {})
        dataset = type("Mine", (base,), {})(pipeline=pipeline("LoadAnnotations"))
        assert annotations_of(dataset) == Annotations(AnnotationFrame.ORIGINAL, word)
    assert annotations_of(None) is None


def test_pictures_are_exact_before_and_after_normalisation():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    wanted = image.flip(0).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(picture_of(image), wanted)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    prepare = Step(_enable_normalize=True, mean=mean, std=std, _channel_conversion=True)
    normalised = (image.flip(0).float() - mean) / std
    np.testing.assert_array_equal(picture_of(before_normalisation(normalised, prepare)), wanted)
    assert picture_of(torch.zeros(8, 4, 4)) is None
    assert picture_of("points") is None
