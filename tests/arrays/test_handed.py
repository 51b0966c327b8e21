import numpy as np
import pytest
from PIL import Image

from featscope.arrays.handed import as_array, as_map, as_picture
from featscope.errors import BadArrayError, BadImageError

MAP = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("given", [MAP, MAP[None], MAP.tolist()], ids=["map", "batch of one", "lists"])
def test_one_map(given):
    assert np.array_equal(as_map(given), MAP)


def test_a_plane_is_a_map_of_one_channel():
    assert np.array_equal(as_map(MAP[0]), MAP[:1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((3, 2, 4, 5)), r"batch of 3 maps .* maps\[0\], up to maps\[2\]"),
        (np.zeros((1, 2, 6, 4, 5)), r"maps\[0, :, 0\]"),
        (np.zeros(4), r"give \(C, H, W\)"),
        (np.zeros((2, 0, 4)), "not a feature map"),
        ([[1, 2], [3]], "not an array|holds no numbers"),
        (None, "NoneType holds no numbers"),
        ([MAP, MAP[0]], "list"),
    ],
)
def test_what_is_not_one_map_is_an_error(given, says):
    with pytest.raises(BadArrayError, match=says):
        as_map(given)


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(MAP, requires_grad=True)
    assert np.array_equal(as_map(tensor), MAP)
    assert np.array_equal(as_map(tensor[None]), MAP)
    half = as_array(tensor.to(torch.bfloat16))
    assert half.dtype == np.float32
    assert np.array_equal(half, MAP)
    with pytest.raises(BadArrayError, match=r"maps\[0\]"):
        as_map(torch.zeros(2, 2, 3, 4))


def test_pictures(random):
    photo = random.integers(0, 255, (4, 5, 3), np.uint8)
    assert as_picture(photo) is photo
    assert np.array_equal(as_picture(Image.fromarray(photo)), photo)
    assert np.array_equal(as_picture(photo[..., 0])[..., 2], photo[..., 0])
    torch = pytest.importorskip("torch")
    assert np.array_equal(as_picture(torch.from_numpy(photo)), photo)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"permute\(1, 2, 0\)"),
        (np.zeros((4, 5, 3)), "float64; give uint8"),
        (np.zeros((4, 5, 4), np.uint8), "not a picture"),
        ("photo.jpg", r"PIL.Image.open\('photo.jpg'\)"),
    ],
)
def test_what_is_not_a_picture_is_an_error(given, says):
    with pytest.raises(BadImageError, match=says):
        as_picture(given)
