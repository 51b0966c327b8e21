"""What the pixels say of a sample, whoever describes it."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

import featscope
from featscope.arrays.agreement import thumbnail
from featscope.capturing.remarks import Remarks
from featscope.capturing.verifying import Verifier, inside
from featscope.demo.scenes import draw_scene
from featscope.records import Boxes, Geometry, Sample
from featscope.store.reader import open_run

SCENE = np.ascontiguousarray(draw_scene(3).image[:400, :512])
TRUE = Geometry((400, 512), (300, 384), (384, 384), (42, 0))


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(SCENE).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def letterboxed(flip=False):
    canvas = np.full((384, 384, 3), 114, np.uint8)
    small = np.asarray(Image.fromarray(SCENE).resize((384, 300), Image.Resampling.BILINEAR))
    canvas[42:342] = small[:, ::-1] if flip else small
    return canvas


def verify(sample, picture, **options):
    with _quiet():
        return Verifier(Remarks()).verify(sample, picture, **options)


@contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_what_is_true_is_verified_and_cut(photo):
    sample, picture = verify(Sample("a", str(photo), geometry=TRUE), letterboxed())
    assert (sample.geometry, sample.agreement.verdict, sample.agreement.why) == (TRUE, "verified", "")
    assert sample.agreement.correlation > 0.95
    assert sample.agreement.off < 0.3
    np.testing.assert_array_equal(picture, letterboxed()[42:342])


def test_what_is_not_true_is_mended_with_its_boxes(photo):
    told = Geometry((400, 512), (300, 384), (384, 384))  # neither the padding nor the mirror
    # The framework scaled a box of the input, at (30, 60) to (90, 102), and did nothing else.
    given = Boxes("xyxy", [[30 / 0.75, 60 / 0.75, 90 / 0.75, 102 / 0.75]], [0], [0.9])
    moving = Boxes("xyxy", [[30, 60, 90, 102]], [0], frame="input")
    sample = Sample("a", str(photo), geometry=told, predictions=given, truth=moving)
    sample, picture = verify(sample, letterboxed(flip=True))
    assert sample.geometry == Geometry((400, 512), (300, 384), (384, 384), (42, 0), "horizontal")
    assert sample.agreement.verdict == "verified"
    assert "its framework reports 300 x 384" in sample.agreement.why
    wanted = [[512 - 90 / 0.75, 18 / 0.75, 512 - 30 / 0.75, 60 / 0.75]]
    for boxes in (sample.predictions, sample.truth):
        assert boxes.frame == "original"
        np.testing.assert_allclose(boxes.boxes, wanted)
    assert picture.shape == (300, 384, 3)


def test_truth_of_the_original_stays_there(photo):
    truth = Boxes("xyxy", [[1, 2, 3, 4]], [0])
    told = Geometry((400, 512), (300, 384), (384, 384))
    assert verify(Sample("a", str(photo), geometry=told, truth=truth), letterboxed()).sample.truth == truth


@pytest.mark.parametrize("padding", [0, 16])
def test_truth_that_was_mirrored_with_the_input_and_never_resized(photo, padding):
    """Resized, padded at the right, boxes loaded in pixels of the original, then all mirrored; nobody tells of it."""
    small = np.asarray(Image.fromarray(SCENE).resize((384, 300), Image.Resampling.BILINEAR))
    seen = np.pad(small, ((0, 0), (0, padding), (0, 0)))[:, ::-1].copy()
    width = 384 + padding
    truth = Boxes("xyxy", [[width - 90, 20, width - 10, 60]], [0], frame="mirrored")
    told = Geometry((400, 512), (300, 384), (300, width))
    sample = verify(Sample("a", str(photo), geometry=told, truth=truth), seen).sample
    assert (sample.geometry.flip, sample.geometry.offset) == ("horizontal", (0, padding))
    assert sample.truth == Boxes("xyxy", [[10, 20, 90, 60]], [0])


def test_what_agrees_in_no_way_has_no_geometry(photo):
    other = np.ascontiguousarray(np.rot90(letterboxed()))
    predictions = Boxes("xyxy", [[0, 0, 512, 400]], [0], [0.9])
    sample, picture = verify(Sample("a", str(photo), geometry=TRUE, predictions=predictions), other)
    assert sample.geometry is None
    assert sample.agreement.verdict == "disagrees"
    assert (sample.predictions.boxes, sample.predictions.frame) == ([[0, 42, 384, 342]], "input")
    np.testing.assert_array_equal(picture, other)


@pytest.mark.parametrize("claimed", [TRUE, None])
def test_a_picture_without_structure_is_not_verifiable(tmp_path, claimed):
    Image.new("RGB", (512, 400), (90, 90, 90)).save(tmp_path / "flat.png")
    seen = np.full((384, 384, 3), 90, np.uint8)
    sample = verify(Sample("a", str(tmp_path / "flat.png"), geometry=claimed), seen).sample
    assert (sample.geometry, sample.agreement.verdict) == (claimed, "not verifiable")


def test_a_file_that_cannot_be_read_is_not_verifiable(tmp_path):
    sample = verify(Sample("a", str(tmp_path / "gone.png"), geometry=TRUE), letterboxed()).sample
    assert (sample.geometry, sample.agreement.verdict) == (TRUE, "not verifiable")
    assert "does not exist" in sample.agreement.why


def test_what_does_not_fit_into_the_input_is_no_geometry():
    unfit = Geometry((400, 512), (400, 512), (384, 384))
    assert verify(Sample("a", geometry=unfit), letterboxed()).sample.geometry is None
    assert verify(Sample("a", geometry=unfit), None).sample.geometry is None
    assert verify(Sample("a", geometry=TRUE), None).sample == Sample("a", geometry=TRUE)


def test_images_that_are_no_files_are_compared_too():
    given = thumbnail(SCENE, 256)
    assert verify(Sample("a", geometry=TRUE), letterboxed(), original=given).sample.agreement.verdict == "verified"
    mended = verify(Sample("a", geometry=TRUE), letterboxed(flip=True), original=given).sample
    assert mended.geometry.flip == "horizontal"


def test_a_picture_that_was_cut_before_is_compared_as_it_is(photo):
    part = letterboxed()[42:342]
    sample, picture = verify(Sample("a", str(photo), geometry=TRUE), part)
    assert (sample.geometry, sample.agreement.verdict) == (TRUE, "verified")
    np.testing.assert_array_equal(picture, part)
    assert verify(Sample("a", str(photo), geometry=TRUE), np.ascontiguousarray(part[::-1])).sample.geometry is None


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_photo_that_its_tag_turns(tmp_path, orientation):
    """OpenCV turns it, Pillow does not: the size and the pixels say which of them read it."""
    turned = Image.fromarray(SCENE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = turned.transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation])
    stored.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    sample = verify(Sample("a", str(tmp_path / "photo.jpg"), geometry=TRUE), letterboxed()).sample
    assert (sample.geometry, sample.agreement.verdict, sample.agreement.why) == (TRUE, "verified", "")


def test_after_some_that_are_not_found_the_search_ends(photo):
    verifier = Verifier(Remarks())
    other = np.ascontiguousarray(np.rot90(letterboxed()))
    with _quiet():
        verdicts = [verifier.verify(Sample("a", str(photo), geometry=TRUE), other).sample for _ in range(8)]
        assert {one.agreement.verdict for one in verdicts} == {"disagrees"}
        assert verifier._in_vain == 5
        assert verifier.verify(Sample("a", str(photo), geometry=TRUE), letterboxed()).sample.geometry == TRUE


def test_a_run_by_hand_is_verified(photo, tmp_path):
    """Whoever describes a sample with its file: here a script that knows of no padding."""
    model = torch.nn.Conv2d(3, 4, 3)
    seen = letterboxed()
    with _quiet(), featscope.capture(model, to=tmp_path / "run") as session, session.batch(["a"], [str(photo)]):
        model(torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 255)
    sample = open_run(tmp_path / "run").samples["a"]
    assert sample.geometry == TRUE
    assert sample.agreement.verdict == "verified"
    assert np.asarray(Image.open(tmp_path / "run" / sample.input)).shape == (300, 384, 3)


def test_inside_is_whole_where_nothing_is_known():
    picture = letterboxed()
    assert inside(picture, None) is picture
    assert inside(picture, TRUE).shape == (300, 384, 3)
    between = Geometry((400, 512), (299.6, 384), (384, 384), (42.3, 0))
    assert inside(picture, between).shape == (300, 384, 3)
