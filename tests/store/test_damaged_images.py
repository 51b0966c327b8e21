"""Images that end too early or hold other bytes, in every format that Pillow writes: an error that names the file."""

import io

import numpy as np
import pytest
from PIL import Image

from featscope.errors import BadImageError
from featscope.store.images import read_image
from featscope.store.originals import read_small

Image.init()

READERS = {
    "": read_image,
    "cv2+exif": lambda path: read_image(path, "cv2+exif"),
    "pillow+exif": lambda path: read_image(path, "pillow+exif"),
    "small": lambda path: read_small(path, 16),
}


def _written(form):
    """A picture in a format, in each of the modes that it has."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8))
    for mode in ("RGB", "L", "1", "P", "I;16") if form != "ICNS" else ("RGB",):  # ten pictures in one
        out = io.BytesIO()
        try:
            (picture.convert("I") if mode == "I;16" else picture).convert(mode).save(out, form)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # it has no such mode, or is only read
            continue
        yield out.getvalue()


def _damaged(data):
    """The file cut short at many places, and with nine bytes of it overwritten."""
    places = {*range(0, 40, 3), *np.linspace(40, len(data) - 1, 24).astype(int).tolist()}
    for place in sorted(place for place in places if place < len(data)):
        yield data[:place]
        yield data[:place] + b"\xff" * 9 + data[place + 9 :]


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on what it passes over
@pytest.mark.parametrize("form", sorted(Image.SAVE))
def test_a_damaged_image_is_a_picture_or_an_error_that_names_it(tmp_path, form):
    path = tmp_path / "x\x1b.img"
    for data in _written(form):
        for damaged in _damaged(data):
            path.write_bytes(damaged)
            for read in READERS.values():
                try:
                    read(path)
                except BadImageError as error:
                    assert str(path) in str(error)  # noqa: PT017 (a picture is right as well)


def test_an_image_bomb_is_not_unpacked(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999)
    for read in READERS.values():
        with pytest.raises(BadImageError, match=r"bomb\.png cannot be read: .*exceeds limit of 1998 pixels"):
            read(tmp_path / "bomb.png")
