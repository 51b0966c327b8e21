"""Policies: what is kept on capture is what one would have kept afterwards."""

import numpy as np
import pytest
import torch

import featscope
from featscope.arrays.packed import STEPS, unpack
from featscope.arrays.reduce import reduce, top_channels
from featscope.capturing.policy import REDUCTIONS, make_policy
from featscope.capturing.thin import thin
from featscope.errors import BadOptionError, UnknownNameError
from featscope.records import Policy


@pytest.fixture
def tensor():
    return torch.randn(2, 24, 13, 17, generator=torch.Generator().manual_seed(0)) * 3 - 1


@pytest.mark.parametrize("how", sorted(REDUCTIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_reduced_on_capture_equals_reduced_afterwards(tensor, how, dtype):
    tensor = tensor.to(dtype)
    thinned = thin(tensor, Policy(reduce=how))
    assert thinned.tensor.shape == (2, 1, 13, 17)
    assert thinned.reduced == how
    for stored, image in zip(thinned.tensor, tensor):
        afterwards = reduce(image.numpy(), how)
        assert stored[0].numpy().dtype == afterwards.dtype
        np.testing.assert_allclose(stored[0].numpy(), afterwards, rtol=2e-6, atol=2e-6)


def test_a_cell_with_nan_stays_nan(tensor):
    tensor[0, 3, 2, 2] = float("nan")
    for how in ("mean", "absmean", "max", "l2", "std"):
        reduced = thin(tensor, Policy(reduce=how)).tensor
        assert reduced[0, 0, 2, 2].isnan()
        assert reduced.isnan().sum() == 1


def test_top_channels_are_each_images_own(tensor):
    tensor[0, 5] *= 100
    tensor[1, 7] *= 100
    thinned = thin(tensor, Policy(channels="top:3"))
    for image, stored, channels in zip(tensor, thinned.tensor, thinned.channels.tolist()):
        assert channels == top_channels(image.numpy(), 3)
        np.testing.assert_array_equal(stored.numpy(), image.numpy()[channels])


def test_a_list_takes_the_channels_that_are_there(tensor):
    thinned = thin(tensor, Policy(channels="3,20-30"))
    assert thinned.channels.tolist() == [[3, 20, 21, 22, 23]] * 2
    np.testing.assert_array_equal(thinned.tensor.numpy(), tensor.numpy()[:, [3, 20, 21, 22, 23]])
    with pytest.raises(BadOptionError, match="'head' has 24 channels, but none of '30-31'"):
        thin(tensor, Policy(channels="30-31"), layer="head")


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e30])
def test_the_error_of_8_bit_codes_is_half_a_step(tensor, scale):
    tensor = tensor * scale
    thinned = thin(tensor, Policy(dtype="uint8"))
    assert thinned.tensor.dtype == torch.uint8
    assert thinned.scales.shape == (2, 2, 24)
    values = unpack(thinned.tensor.numpy(), thinned.scales.numpy())
    spread = (tensor.amax((2, 3)) - tensor.amin((2, 3))).numpy()
    error = np.abs(values - tensor.numpy()).max((2, 3))
    assert (error <= spread / (2 * STEPS) * 1.001 + 1e-6 * scale).all()
    assert error.max() > 0


def test_8_bit_codes_keep_what_is_no_number_and_what_is_constant(tensor):
    tensor[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    tensor[0, 1] = 7.25
    tensor[0, 2] = float("nan")
    thinned = thin(tensor, Policy(dtype="uint8"))
    values = unpack(thinned.tensor.numpy(), thinned.scales.numpy())
    np.testing.assert_array_equal(values[0, 0, 0, :3], [np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(values[0, 1], np.full((13, 17), 7.25))
    assert np.isnan(values[0, 2]).all()
    assert np.isfinite(values[1]).all()


def test_other_shapes_and_whole_numbers_pass(tensor):
    labels = torch.arange(5)
    assert thin(labels, Policy(dtype="uint8", reduce="mean")).tensor is not None
    np.testing.assert_array_equal(thin(labels, Policy(dtype="float16")).tensor.numpy(), np.arange(5))
    tokens = torch.randn(2, 7, 3)
    assert thin(tokens, Policy(reduce="mean", channels="0")).tensor.shape == (2, 7, 3)
    assert thin(torch.zeros(0, 4), Policy(dtype="uint8")).tensor.shape == (0, 4)
    assert thin(torch.tensor(3.5), Policy(dtype="uint8")).tensor.shape == ()


def test_bfloat16_becomes_float32_or_stays(tensor):
    half = tensor.bfloat16()
    assert thin(half, Policy()).tensor.dtype == torch.float32
    assert thin(half, Policy(dtype="bfloat16")).tensor.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"dtyp": "float16"}, UnknownNameError, "did you mean 'dtype'"),
        ({"dtype": "float61"}, UnknownNameError, "did you mean 'float16'"),
        ({"reduce": "pca"}, UnknownNameError, "reduction on capture 'pca'"),
        ({"channels": "sum:3"}, BadOptionError, "top:16"),
        ({"every": 0}, BadOptionError, "every must be at least 1"),
        ({"every": "x"}, BadOptionError, "every"),
        ({"max_samples": -1}, BadOptionError, "max_samples"),
    ],
)
def test_policies_that_mean_nothing(values, error, message):
    with pytest.raises(error, match=message):
        make_policy(values)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()


def test_a_part_of_a_batch(model, tmp_path):
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    policy = {"every": 2, "dtype": "float16", "reduce": "max"}
    with torch.no_grad(), featscope.capture(model, to=tmp_path / "run", policy=policy) as session:
        for number, first in enumerate((0, 3)):
            part = images[first : first + 3]
            session.start_batch(number, [f"image {first + i}" for i in range(len(part))])
            model(part)
            session.describe([featscope.records.Sample(f"image {first + i}") for i in range(len(part))])
    with torch.no_grad():
        whole = model(images).numpy()
    run = featscope.open_run(tmp_path / "run")
    assert list(run.samples) == ["image 0", "image 2", "image 4"]
    stored = run.select(layer="1", sample="image 4")
    assert [m.load().shape for m in stored] == [(1, 1, 6, 6)]
    np.testing.assert_array_equal(stored[0].load()[0, 0], whole[4].max(0).astype(np.float16))
    assert stored[0].record.reduced == "max"
    assert run.info.policy == Policy(dtype="float16", reduce="max", every=2)
    assert featscope.check_run(tmp_path / "run").problems == []


@pytest.mark.parametrize(("dtype", "bound"), [("uint8", 1 / 500), ("bfloat16", 1 / 100), ("float16", 1 / 1000)])
def test_what_is_packed_is_read_as_values(model, tmp_path, dtype, bound):
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model[0](images).numpy()
        with featscope.capture(model, ["0"], to=tmp_path / "run", policy={"dtype": dtype}):
            model(images)
    (stored,) = featscope.open_run(tmp_path / "run").maps
    values = stored.load()
    assert values.shape == expected.shape
    assert 0 < np.abs(values - expected).max() <= bound * (expected.max() - expected.min())
    assert featscope.check_run(tmp_path / "run").problems == []


def test_the_disk_is_looked_at_before_it_is_full(model, small_disk):
    wide = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 1))
    images = torch.zeros(1, 3, 32, 32)  # 256 KB a sample
    with pytest.raises(
        featscope.FeatscopeError, match=r"would take 26\.. MB more.* reduce='mean' reduces it to 0.4 MB.*every=\d+"
    ), torch.no_grad(), featscope.capture(wide, to=small_disk / "run", dataset_size=100):
        wide(images)
    assert not (small_disk / "run").exists()
    with torch.no_grad(), featscope.capture(wide, to=small_disk / "run", dataset_size=100, policy={"reduce": "mean"}):
        for _ in range(100):
            wide(images)
    assert len(featscope.open_run(small_disk / "run").maps) == 100


@pytest.fixture
def film():
    return torch.randn(2, 8, 3, 5, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", ["mean", "absmean", "max", "l2", "std", "select_max"])
def test_films_are_reduced_slice_by_slice(film, how):
    made = thin(film, Policy(reduce=how))
    assert (made.tensor.shape, made.reduced) == ((2, 1, 3, 5, 4), how)
    for image in range(2):
        for step in range(3):
            expected = reduce(film[image, :, step].numpy(), how)
            np.testing.assert_allclose(made.tensor[image, 0, step].numpy(), expected, atol=2e-6)


def test_channels_of_films(film):
    film[0, 6] *= 10
    made = thin(film, Policy(channels="top:2"))
    assert made.channels[0, 0] == 6
    for image in range(2):
        np.testing.assert_array_equal(made.tensor[image].numpy(), film[image, made.channels[image]].numpy())
    assert torch.equal(thin(film, Policy(channels="1,7")).tensor, film[:, [1, 7]])


@pytest.mark.parametrize("how", ["mean", "absmean", "l2", "std", "select_max"])
@pytest.mark.parametrize("unit", [1e-40, 1e-25, 1e30, 3e38])
def test_large_and_small_values_are_reduced_as_those_near_one(how, unit):
    """With what tells the CPU's short way from that of a device, and without."""
    plain = torch.rand(2, 64, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    plain[0, 0, 0, 0] = 1
    tensor = (plain * unit).float()
    expected = thin(tensor.double() / unit, Policy(reduce=how)).tensor
    found = thin(tensor, Policy(reduce=how)).tensor
    assert found.isfinite().all()
    step = 1.5e-45 / unit  # between the smallest numbers that there are
    most = torch.finfo(torch.float32).max / unit
    assert (found.double() / unit - expected.clamp(-most, most)).abs().max() <= 1e-5 * expected.abs().max() + step


def test_what_is_infinite_stays_so_when_it_is_reduced():
    tensor = torch.full((1, 2, 1, 3), 3e38)
    tensor[0, 0, 0, 1], tensor[0, 1, 0, 2] = float("inf"), float("nan")
    found = thin(tensor, Policy(reduce="l2")).tensor.flatten()
    assert found.isinf().tolist() == [False, True, False]
    assert found.isnan().tolist() == [False, False, True]
