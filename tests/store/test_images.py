"""How files are read in each of the ways; that OpenCV and the frameworks do so is shown in integration/test_reading.py."""

import re
import struct

import numpy as np
import pytest
from PIL import Image

from featscope.errors import BadImageError, UnknownReadingError
from featscope.store.images import READINGS, read_image

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
UPRIGHT = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: PICTURE[::-1].transpose(1, 0, 2),
    7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
    8: PICTURE[:, ::-1].transpose(1, 0, 2),
}


def tagged(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def write(path, picture, **options):
    Image.fromarray(picture).save(path, **options)
    return path


@pytest.fixture
def turned(tmp_path):
    return write(tmp_path / "turned.png", PICTURE, exif=tagged(6))


@pytest.mark.parametrize("number", UPRIGHT)
def test_orientations(tmp_path, number):
    path = write(tmp_path / "x.png", PICTURE, exif=tagged(number))
    for reading in ("cv2+exif", "pillow+exif", "mmcv+exif", "ultralytics+exif"):
        np.testing.assert_array_equal(read_image(path, reading), UPRIGHT[number])
    for reading in ("cv2", "pillow", "mmcv"):
        np.testing.assert_array_equal(read_image(path, reading), PICTURE)


@pytest.mark.parametrize("number", UPRIGHT)
def test_a_tiff_is_turned_by_its_decoder(tmp_path, number):
    path = write(tmp_path / "x.tif", PICTURE, tiffinfo={0x0112: number})
    for reading in ("cv2+exif", "cv2", "pillow", "pillow+exif", "mmcv"):
        np.testing.assert_array_equal(read_image(path, reading), UPRIGHT[number])


def test_an_orientation_that_only_xmp_names_is_not_opencvs(tmp_path):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    path = tmp_path / "x.jpg"
    write(path, PICTURE, quality=95)
    data = path.read_bytes()
    segment = b"http://ns.adobe.com/xap/1.0/\0" + packet + b"</x:xmpmeta>"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:])
    plain = read_image(path, "pillow")
    np.testing.assert_array_equal(read_image(path, "cv2+exif"), plain)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, suffix):
    path = write(tmp_path / f"x.{suffix}", np.array([[0, 200, 256, 0x1234, 0xFFFF]], np.uint16))
    for reading in ("cv2+exif", "cv2", "ultralytics+exif", "cv2+grey"):
        assert read_image(path, reading)[0].tolist() == [[value] * 3 for value in (0, 0, 1, 0x12, 0xFF)]
    for reading in ("pillow", "pillow+exif", "mmcv+exif"):
        assert read_image(path, reading)[0].tolist() == [[value] * 3 for value in (0, 200, 255, 255, 255)]


def test_colours_that_were_multiplied_by_alpha_are_not_opencvs(tmp_path):
    """A TIFF says of its alpha whether its colours hold it already; what OpenCV makes of that is not known."""
    path = tmp_path / "x.tif"
    Image.fromarray(np.dstack([PICTURE, np.full((2, 3), 51, np.uint8)])).save(path)
    entry = "<HHIHH"  # extra samples, one short number: 2 not multiplied, 1 multiplied
    path.write_bytes(
        path.read_bytes().replace(struct.pack(entry, 338, 3, 1, 2, 0), struct.pack(entry, 338, 3, 1, 1, 0))
    )
    with pytest.raises(UnknownReadingError, match="multiplied by its alpha"):
        read_image(path, "cv2")
    assert read_image(path, "pillow").shape == PICTURE.shape


def test_alpha_is_dropped_but_in_a_tiff_by_opencv(tmp_path):
    with_alpha = np.dstack([PICTURE, np.full((2, 3), 51, np.uint8)])
    for suffix in ("png", "tif"):
        path = write(tmp_path / f"x.{suffix}", with_alpha)
        np.testing.assert_array_equal(read_image(path, "pillow"), PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", "cv2+exif"), PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif", "cv2+exif"), np.round(PICTURE / 5))


def test_grey_with_alpha_lies_on_a_colour_of_mmcvs(tmp_path):
    path = write(tmp_path / "x.png", np.array([[[10, 255], [10, 0]]], np.uint8))
    for reading in ("cv2+exif", "pillow"):
        assert read_image(path, reading).tolist() == [[[10, 10, 10], [10, 10, 10]]]
    assert read_image(path, "mmcv+exif").tolist() == [[[10, 10, 10], [124, 117, 104]]]


def test_four_inks(tmp_path):
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 128, 0, 64], [0, 0, 255, 255]]], np.uint8)
    path = tmp_path / "x.tif"
    Image.fromarray(inks, "CMYK").save(path)
    assert read_image(path, "cv2").tolist() == [[[255, 255, 255], [0, 255, 255], [191, 95, 191], [0, 0, 0]]]


def test_palettes_and_single_bits(tmp_path, recwarn):
    palette = Image.new("P", (3, 1))
    palette.putpalette([9, 8, 7, 60, 50, 40, 255, 254, 253])
    palette.putdata([2, 1, 0])
    palette.save(tmp_path / "p.png", transparency=bytes([255, 9, 0]))
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "one.png")
    for reading in READINGS:
        if not reading.endswith("grey"):
            assert read_image(tmp_path / "p.png", reading).tolist() == [[[255, 254, 253], [60, 50, 40], [9, 8, 7]]]
        assert read_image(tmp_path / "one.png", reading).tolist() == [[[255] * 3, [0] * 3]]
    assert not recwarn.list, "Pillow warns of the transparency that nobody heeds"


def test_grey(tmp_path):
    path = write(tmp_path / "x.png", PICTURE, exif=tagged(3))
    weighted = (PICTURE @ [0.299, 0.587, 0.114])[..., None]
    for reading in ("cv2+grey", "mmcv+grey"):
        found = read_image(path, reading)
        assert found.shape == PICTURE.shape
        assert np.abs(found - weighted).max() <= 1
    assert np.abs(read_image(path, "ultralytics+exif+grey") - weighted[::-1, ::-1]).max() <= 1


class TestUnknown:
    """Of a file whose reading is not recorded."""

    @pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
    @pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
    def test_what_all_read_alike_is_read(self, tmp_path, suffix, mode):
        if mode == "P" and suffix in ("ppm", "webp"):
            pytest.skip("it has no palettes")
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(PICTURE).convert(mode).save(path, **({"lossless": True} if suffix == "webp" else {}))
        expected = read_image(path, "pillow")
        np.testing.assert_array_equal(read_image(path), expected)
        np.testing.assert_array_equal(read_image(path, "cv2+exif"), expected)
        np.testing.assert_array_equal(read_image(path, "of a later version"), expected)

    def test_what_some_turn_is_refused(self, turned):
        with pytest.raises(UnknownReadingError, match=r"turned by its orientation tag \(6\), which programs read in"):
            read_image(turned)

    @pytest.mark.parametrize(
        ("name", "mode", "what"),
        [("x.png", "LA", "PNG of the mode LA"), ("x.tif", "RGBA", "TIFF of the mode RGBA"),
         ("x.jpg", "CMYK", "JPEG of the mode CMYK"), ("x.gif", "P", "GIF of the mode P")],
    )  # fmt: skip
    def test_what_they_convert_in_their_own_ways_is_refused(self, tmp_path, name, mode, what):
        Image.fromarray(PICTURE).convert(mode).save(tmp_path / name)
        with pytest.raises(UnknownReadingError, match=what):
            read_image(tmp_path / name)

    def test_sixteen_bits_are_refused(self, tmp_path):
        with pytest.raises(UnknownReadingError, match="PNG of the mode I"):
            read_image(write(tmp_path / "x.png", np.array([[1000]], np.uint16)))


@pytest.mark.parametrize(
    ("name", "picture", "options", "what"),
    [
        ("x.tif", np.zeros((2, 2), np.float32), {}, "TIFF of the mode F"),
        ("x.gif", PICTURE, {}, "a GIF"),
        ("x.webp", PICTURE, {"exif": tagged(6)}, r"WebP turned by its orientation tag \(6\)"),
        ("x.png", PICTURE, {"save_all": True, "append_images": [Image.fromarray(255 - PICTURE)]}, "2 frames"),
    ],
)
def test_what_opencvs_versions_read_differently_is_refused(tmp_path, name, picture, options, what):
    path = write(tmp_path / name, picture, **options)
    with pytest.raises(UnknownReadingError, match=what + ".*; it is unknown how OpenCV read it"):
        read_image(path, "cv2+exif")


def test_an_exif_behind_other_data_is_refused(tmp_path):
    path = write(tmp_path / "x.jpg", PICTURE, exif=tagged(6))
    data, segment = path.read_bytes(), b"http://ns.adobe.com/xap/1.0/\0<x/>"
    start = data.index(b"\xff\xe1")
    path.write_bytes(data[:start] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[start:])
    assert read_image(path, "pillow+exif").shape == (3, 2, 3)
    with pytest.raises(UnknownReadingError, match=r"orientation tag \(6\) after other data"):
        read_image(path, "cv2+exif")
    assert read_image(path, "cv2").shape == (2, 3, 3), "which ignores it"


@pytest.mark.parametrize("reading", ["", "cv2+exif", "pillow"])
def test_what_is_no_image(tmp_path, reading):
    with pytest.raises(BadImageError, match="does not exist"):
        read_image(tmp_path / "none.png", reading)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadImageError, match=re.escape(f"the image {tmp_path / 'text.png'} cannot be read")):
        read_image(tmp_path / "text.png", reading)
