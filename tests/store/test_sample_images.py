"""Which picture lies under a map: the file as it was read, or what the network saw."""

import numpy as np
import pytest
from PIL import Image

from featscope.records import Geometry, Sample
from featscope.store.sample_images import original_image, sample_image

UPRIGHT = np.zeros((30, 20, 3), np.uint8)
UPRIGHT[:10] = (250, 10, 10)
SEEN = np.full((30, 20, 3), 77, np.uint8)
GEOMETRY = Geometry((30, 20), (30, 20), (32, 32))


@pytest.fixture
def photo(tmp_path):
    """A phone's: it lies on its side, and a tag says so."""
    path, exif = tmp_path / "photo.png", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(UPRIGHT)).save(path, exif=exif)
    return path


def drawn(sample, seen=SEEN):
    errors, remarks = [], []
    return original_image(sample, lambda: seen, errors, remarks), errors, remarks


def test_a_turned_photo_is_drawn_as_it_was_read(photo):
    picture, errors, remarks = drawn(Sample("a", str(photo), geometry=GEOMETRY, reading="cv2+exif"))
    np.testing.assert_array_equal(picture, UPRIGHT)
    aside = Geometry((20, 30), (20, 30), (32, 32))
    picture, *_ = drawn(Sample("a", str(photo), geometry=aside, reading="pillow"))
    np.testing.assert_array_equal(picture, np.rot90(UPRIGHT))
    assert (errors, remarks) == ([], [])


def test_a_size_that_is_not_the_recorded_one_is_an_error(photo):
    picture, errors, _ = drawn(Sample("a", str(photo), geometry=GEOMETRY, reading="pillow"))
    np.testing.assert_array_equal(picture, SEEN)
    assert "is 20 x 30, but its record says 30 x 20" in errors[0]
    assert errors[0].endswith("; the input as the network saw it was drawn in its place")


def test_where_the_reading_is_not_known_the_input_is_drawn(photo):
    sample = Sample("a", str(photo), geometry=GEOMETRY)
    picture, errors, remarks = drawn(sample)
    np.testing.assert_array_equal(picture, SEEN)
    assert errors == []
    assert "turned by its orientation tag (6)" in remarks[0]
    assert remarks[0].endswith("; the input as the network saw it was drawn in its place")
    picture, errors, remarks = drawn(sample, None)
    assert picture is None
    assert remarks[0].endswith("; there is no image to draw over")


def test_a_plain_file_is_drawn_whoever_read_it(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "plain.png")
    picture, errors, remarks = drawn(Sample("a", str(tmp_path / "plain.png"), geometry=GEOMETRY))
    np.testing.assert_array_equal(picture, UPRIGHT)
    assert (errors, remarks) == ([], [])


def test_a_frame_of_a_film_is_not_read_from_its_file(photo):
    picture, *_ = drawn(Sample("a", str(photo), geometry=GEOMETRY, frame=3, reading="cv2+exif"))
    np.testing.assert_array_equal(picture, SEEN)


def test_the_input_of_a_run(tmp_path):
    (tmp_path / "inputs").mkdir()
    Image.fromarray(SEEN).save(tmp_path / "inputs" / "a.jpg")
    remarks = []
    gone = Sample("a", str(tmp_path / "gone.png"), geometry=GEOMETRY, input="inputs/a.jpg")
    assert sample_image(tmp_path, gone, [], remarks).tolist() == SEEN.tolist()
    assert remarks == [f"{tmp_path / 'gone.png'} is gone; the input as the network saw it was drawn in its place"]
