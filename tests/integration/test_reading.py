"""The ways of reading against those who read so: OpenCV, MMCV, Ultralytics, transformers, pixel for pixel.

Equal to the bit, but for what OpenCV makes of 16-bit colours in a TIFF (one level, as Pillow has dropped the lower
bits) and of grey (two levels, as its decoders mix it each in their own way).
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from featscope.errors import UnknownReadingError
from featscope.store.images import read_image

from .conftest import SHARED

cv2 = pytest.importorskip("cv2")


def tagged(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png16(path, values, colour):
    """Pillow writes 16 bits in grey alone. values: (H, W, channels)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo in every form."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.open(SHARED / "data" / "natural" / "coco_val" / "000000000139.jpg").resize((61, 43))
    colours, grey = np.asarray(photo), np.asarray(photo.convert("L"))
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 61 * 43).reshape(43, 61).astype(np.uint8)
    four = np.dstack([colours, ramp])
    deep = random.integers(0, 1 << 16, (43, 61, 4)).astype(np.uint16)

    def save(name, picture, **options):
        if not isinstance(picture, Image.Image):
            picture = Image.fromarray(picture)
        picture.save(folder / name, **options)

    for number in range(1, 9):
        save(f"turned{number}.jpg", photo, exif=tagged(number), quality=97, subsampling=0)
        save(f"turned{number}.png", photo, exif=tagged(number))
        save(f"turned{number}.tif", photo, tiffinfo={0x0112: number})
        save(f"turned{number}_grey.tif", grey, tiffinfo={0x0112: number})
    save("half.jpg", photo, quality=90)
    save("progressive.jpg", photo, quality=90, progressive=True)
    save("grey_turned.jpg", grey, quality=95, exif=tagged(6))
    save("inks.jpg", Image.fromarray(four, "CMYK"), quality=97)
    save("inks_turned.jpg", Image.fromarray(four, "CMYK"), quality=97, exif=tagged(5))
    save("inks.tif", Image.fromarray(four, "CMYK"))
    save("deep.png", deep[..., 0])
    save("deep.tif", deep[..., 0])
    save("deep_turned.png", deep[..., 0], exif=tagged(8))
    for name, channels, colour in (("colours", 3, 2), ("alpha", 4, 6), ("grey_alpha", 2, 4)):
        write_png16(folder / f"deep_{name}.png", deep[..., :channels], colour)
    cv2.imwrite(str(folder / "deep_colours.tif"), deep[..., :3])
    for suffix in ("png", "tif", "webp"):
        save(f"alpha.{suffix}", four, **({"lossless": True} if suffix == "webp" else {}))
    cv2.imwrite(str(folder / "alpha_unnamed.tif"), four)
    cv2.imwrite(str(folder / "alpha.bmp"), four)
    save("grey_alpha.png", np.dstack([grey, ramp]))
    save("grey_alpha_turned.png", np.dstack([grey, ramp]), exif=tagged(6))
    save("grey_alpha.tif", np.dstack([grey, ramp]))
    sixteen = photo.quantize(16)
    save("palette_few.png", sixteen, bits=4)
    save("palette_key.png", sixteen, transparency=3)
    save("palette_alpha.png", sixteen, transparency=bytes(range(0, 240, 15)))
    save("key.png", photo, transparency=tuple(int(value) for value in colours[5, 5]))
    for suffix in ("png", "tif", "bmp"):
        save(f"palette.{suffix}", photo.convert("P"))
        save(f"bits.{suffix}", grey > 100)
        save(f"grey.{suffix}", grey)
        save(f"colours.{suffix}", photo)
    save("fax.tif", grey > 100, compression="group4")
    save("jpeg.tif", photo, compression="jpeg")
    save("pages.tif", photo, save_all=True, append_images=[photo.transpose(Image.Transpose.ROTATE_180)])
    save("lossy.webp", photo)
    save("colours.jp2", photo, irreversible=False)
    save("colours.ppm", photo)
    save("phone.mpo", photo, save_all=True, append_images=[photo], exif=tagged(6))
    save("one.png", colours[:1, :1])
    return folder


def differences(folder, read, reading, leave_out=()):
    """File -> largest difference between a framework's reader and ours; the size where that differs."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(tuple(leave_out)):
            continue
        theirs, mine = read(path), read_image(path, reading)
        if theirs.ndim == 2 or theirs.shape[2] == 1:
            theirs = np.repeat(theirs.reshape(*theirs.shape[:2], 1), 3, 2)
        same = theirs.shape == mine.shape
        found[path.name] = np.abs(theirs.astype(int) - mine).max() if same else (theirs.shape, mine.shape)
    assert len(found) > 60
    return {name: value for name, value in found.items() if value}


def decoded(path, flag):
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flag)
    return found[:, :, ::-1] if found.ndim == 3 else found


@pytest.mark.parametrize(("reading", "flag"), [("cv2+exif", 0), ("cv2", cv2.IMREAD_IGNORE_ORIENTATION)])
def test_opencv(folder, reading, flag):
    found = differences(folder, lambda path: decoded(path, cv2.IMREAD_COLOR | flag), reading)
    assert found == {"deep_colours.tif": 1}


@pytest.mark.parametrize(("reading", "flag"), [("cv2+exif+grey", 0), ("cv2+grey", cv2.IMREAD_IGNORE_ORIENTATION)])
def test_opencv_in_grey(folder, reading, flag):
    found = differences(folder, lambda path: decoded(path, cv2.IMREAD_GRAYSCALE | flag), reading)
    assert set(found.values()) <= {1, 2}


@pytest.mark.parametrize(
    ("backend", "flag", "reading"),
    [("cv2", "color", "cv2+exif"), ("cv2", "color_ignore_orientation", "cv2"), ("pillow", "color", "mmcv+exif"),
     ("pillow", "color_ignore_orientation", "mmcv"), ("pillow", "grayscale", "mmcv+exif+grey"),
     ("pillow", "grayscale_ignore_orientation", "mmcv+grey")],
)  # fmt: skip
def test_mmcv_and_what_is_said_of_its_loader(folder, backend, flag, reading):
    transforms = pytest.importorskip("mmcv.transforms")
    from featscope.adapters.mm.reading import reading_of

    loader = transforms.LoadImageFromFile(color_type=flag, imdecode_backend=backend)
    assert reading_of(transforms.Compose([loader])) == reading

    def read(path):
        image = loader({"img_path": str(path)})["img"]
        return image[:, :, ::-1] if image.ndim == 3 else image

    assert set(differences(folder, read, reading)) <= {"deep_colours.tif"}


def test_loaders_of_mmengine_that_are_not_known():
    transforms = pytest.importorskip("mmcv.transforms")
    from featscope.adapters.mm.reading import reading_of

    class Own(transforms.LoadImageFromFile):
        def transform(self, results):
            return results

    class Renamed(transforms.LoadImageFromFile):
        pass

    class DataSet:
        def __init__(self, *steps):
            self.pipeline = transforms.Compose(list(steps))

    class Joined:
        def __init__(self, *datasets):
            self.datasets = datasets

    assert reading_of(DataSet(Renamed())) == "cv2+exif"
    assert reading_of(DataSet(Own())) == ""
    assert reading_of(DataSet(transforms.LoadImageFromFile(color_type="unchanged"))) == ""
    assert reading_of(DataSet(transforms.LoadImageFromFile(imdecode_backend="tifffile"))) == ""
    assert reading_of(DataSet(transforms.Resize((8, 8)))) == ""
    assert reading_of(None) == ""
    usual, other = DataSet(Renamed()), DataSet(transforms.LoadImageFromFile(imdecode_backend="pillow"))
    assert reading_of(Joined(usual, usual)) == "cv2+exif"
    assert reading_of(Joined(usual, other)) == ""


def test_ultralytics_by_path(folder):
    pytest.importorskip("ultralytics")
    from featscope.adapters.ultralytics.reading import read_file, reading_of_file

    assert reading_of_file("x.png") == "cv2+exif"
    found = differences(folder, lambda path: read_file(path, "cv2+exif"), "cv2+exif", ["pages"])
    assert found == {}
    found = differences(folder, lambda path: read_file(path, "cv2+exif+grey"), "cv2+exif+grey", ["pages"])
    assert set(found.values()) <= {1, 2}


def test_ultralytics_by_list(folder):
    loaders = pytest.importorskip("ultralytics.data.loaders")
    from featscope.adapters.ultralytics.reading import reading_of_source

    loader = loaders.LoadPilAndNumpy(loaders.autocast_list([str(folder / "deep.png")]))
    reading = reading_of_source(loader, str(folder / "deep.png"))
    assert reading == "ultralytics+exif"

    def read(path):
        return loaders.LoadPilAndNumpy(loaders.autocast_list([str(path)])).im0[0][:, :, ::-1]

    turned = [f"turned{number}{name}.tif" for number in range(2, 9) for name in ("", "_grey")]
    assert differences(folder, read, reading, turned) == {}
    with pytest.raises(UnknownReadingError, match="a turned TIFF"):
        read_image(folder / "turned6.tif", reading)


def test_transformers(folder):
    load_image = pytest.importorskip("transformers.image_utils").load_image
    # Opened by its path, an uncompressed TIFF is turned twice by Pillow 13: our own adapter reads from memory.
    turned = [f"turned{number}_grey.tif" for number in range(2, 9)]
    assert differences(folder, lambda path: np.asarray(load_image(str(path))), "pillow+exif", turned) == {}


def test_torchvision(folder):
    """Its data sets open files by Pillow; its own decoder gives the same where it can decode, and 16 bits as such."""
    io = pytest.importorskip("torchvision.io")

    def read(path):
        if path.suffix in (".jpg", ".png") and not path.name.startswith(("deep", "inks")):
            return io.decode_image(io.read_file(str(path)), io.ImageReadMode.RGB).permute(1, 2, 0).numpy()
        return np.asarray(Image.open(path).convert("RGB"))

    turned = [f"turned{number}_grey.tif" for number in range(2, 9)]
    found = differences(folder, read, "pillow", turned)
    assert all(value <= 2 for value in found.values()), found
