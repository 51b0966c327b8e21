"""What is read from a pipeline's words; the data samples themselves are read in tests/integration."""

import numpy as np
import pytest
import torch

from featscope.adapters.mmengine_samples import (
    AnnotationFrame,
    annotation_frame,
    before_normalisation,
    geometry_of,
    path_of,
    picture_of,
    sample_id,
    unflipped,
)
from featscope.arrays.boxes import rotated_corners
from featscope.records import Geometry

SIZE = (60, 100)


def geometry(flip):
    return Geometry(SIZE, SIZE, SIZE, flip=flip)


def mirrored(points, flip):
    height, width = SIZE
    signs = np.array([-1 if flip in ("horizontal", "diagonal") else 1, -1 if flip in ("vertical", "diagonal") else 1])
    return points * signs + np.array([width, height]) * (signs < 0)


@pytest.mark.parametrize("flip", ["", "horizontal", "vertical", "diagonal"])
def test_boxes_of_every_form_are_mirrored_corner_by_corner(flip):
    box = np.array([[10.0, 5.0, 30.0, 45.0]])
    back = unflipped(box, geometry(flip))
    corners = np.sort(mirrored(box.reshape(2, 2), flip), 0)
    np.testing.assert_allclose(back.reshape(2, 2), corners)

    turned = np.array([[30.0, 20.0, 25.0, 8.0, 0.4]])
    own = rotated_corners(unflipped(turned, geometry(flip)))[0]
    wanted = mirrored(rotated_corners(turned)[0], flip)
    order = np.lexsort
    np.testing.assert_allclose(own[order(own.T.round(6))], wanted[order(wanted.T.round(6))], atol=1e-9)

    quad = np.array([[1.0, 2.0, 9.0, 3.0, 8.0, 7.0, 2.0, 6.0]])
    np.testing.assert_allclose(unflipped(quad, geometry(flip)).reshape(4, 2), mirrored(quad.reshape(4, 2), flip))
    each_class = torch.tensor(box).repeat(3, 1)[None]
    torch.testing.assert_close(unflipped(each_class, geometry(flip)), torch.tensor(back).repeat(3, 1)[None])


def test_ids_are_believed_where_they_are_the_data_sets_own():
    given = {"img_id": 0, "img_path": "photos/harbour.jpg"}  # MMDetection numbers every photo 0
    assert sample_id(given) == "0"
    assert sample_id(given, of_data_set=False) == "harbour"
    assert sample_id({"img_id": 0, "img_path": None}, of_data_set=False) == ""
    assert path_of({"img_path": ["front.png", "back.png"]}) == ""
    assert path_of({"img_path": None}) == ""


def test_geometry_is_what_the_input_bears_out():
    meta = {"ori_shape": (40, 60), "img_shape": (20, 30), "scale_factor": (0.5, 0.5), "flip": True}
    assert geometry_of(meta) == Geometry((40, 60), (20, 30), (20, 30), flip="horizontal")
    assert geometry_of(meta, (32, 32)).padded == (32, 32)
    assert geometry_of(meta, (16, 32)) is None  # made smaller once more, in the batch
    assert geometry_of({"ori_shape": [(40, 60), (40, 60)]}) is None  # several cameras
    assert geometry_of({}) is None


class Step:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def pipeline(*names, **attributes):
    return Step(transforms=[type(name, (Step,), {})() for name in names], **attributes)


def test_annotations_follow_what_comes_behind_them():
    def frame(*names):
        return annotation_frame(Step(pipeline=pipeline(*names)))

    assert frame("Resize", "RandomFlip", "LoadAnnotations") == AnnotationFrame()
    assert frame("LoadAnnotations", "Resize") == AnnotationFrame(resized=True)
    assert frame("Resize", "LoadPanopticAnnotations", "RandomFlip") == AnnotationFrame(flipped=True)
    augmented = pipeline("LoadAnnotations")
    augmented.transforms.append(Step(subroutines=[pipeline("Resize", "RandomFlip")]))
    assert annotation_frame(Step(pipeline=augmented)) == AnnotationFrame(True, True)
    assert annotation_frame(None) is None


def test_pictures_are_exact_before_and_after_normalisation():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    wanted = image.flip(0).permute(1, 2, 0).numpy()[:16]
    fitted = Geometry((16, 30), (16, 30), (20, 30))
    np.testing.assert_array_equal(picture_of(image), wanted)
    mean, std = (torch.tensor(values)[:, None, None] for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
    prepare = Step(_enable_normalize=True, mean=mean, std=std, _channel_conversion=True)
    normalised = (image.flip(0).float() - mean) / std
    np.testing.assert_array_equal(picture_of(before_normalisation(normalised, prepare), fitted), wanted)
    assert picture_of(torch.zeros(8, 4, 4), None) is None
    assert picture_of("points", None) is None
