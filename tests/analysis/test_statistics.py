"""Statistics of whole runs: which cells count, what is said of channels, and runs that cannot be summed."""

import numpy as np
import pytest

import featscope
from featscope.analysis import counting
from featscope.arrays.basis import Moments
from featscope.arrays.redundancy import effective_rank
from featscope.errors import BadArrayError, BadOptionError, BadRunError, UnknownNameError
from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.render.bases import bases_of, read_bases
from featscope.scale.executor import serial
from featscope.store.writer import RunWriter

AXES = ("sample", "channel", "row", "column")
PLACE = Place((4.0, 4.0), (2.0, 2.0), "operators")
PADDED = Geometry((64, 48), (64, 48), (64, 64))  # the last four columns of a map of 16 x 16 are padding


def write_run(folder, arrays, axes=AXES, *, geometry=PADDED, layer="neck", **more):
    """A run of a layer: an array (C, H, W) for each image, named a, b, ..."""
    writer = RunWriter(folder, RunInfo(model="Toy"))
    for batch, array in enumerate(arrays):
        name = "abcdefghijklmnopqrstuvwxyzABCDEFGHI"[batch]
        writer.put_sample(Sample(name, batch=batch, geometry=geometry), None)
        place = PLACE if geometry is not None and "row" in axes else None
        captured = CapturedMap(layer, "FPN", "", 0, 0, batch, [name], f"{layer}.fpn", axes, place=place, **more)
        writer.put(captured, array[None])
    writer.close()
    return folder


def maps(count=6, channels=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, channels, 16, 16)).astype(np.float32)


def cells_of(arrays):
    """All cells on the image, (C, n), in double precision."""
    return np.concatenate([one[:, :, :12].reshape(len(one), -1) for one in arrays], axis=1).astype(np.float64)


def only_layer(run, **options):
    found = featscope.statistics(run, **options)
    assert found.errors == []
    (row,) = found.layers
    return found, row


@pytest.mark.parametrize("offset", [0, 1e4])
def test_equal_to_numpy_over_all_cells_on_the_images(tmp_path, offset):
    arrays = maps() if not offset else (offset + 1e-2 * maps()).astype(np.float32)
    _, row = only_layer(write_run(tmp_path / "run", arrays), most_cells=0)
    cells = cells_of(arrays)
    assert (row.images, row.channels, row.cells, row.padding) == (6, 5, 6 * 16 * 12, 6 * 16 * 4)
    assert abs(row.mean - cells.mean()) <= 1e-6 * cells.std()
    assert row.variance == pytest.approx(cells.var(), rel=1e-6)
    assert row.std == pytest.approx(cells.std(), rel=1e-6)
    assert (row.minimum, row.maximum) == (cells.min(), cells.max())
    assert row.effective_rank == pytest.approx(effective_rank(Moments.of(cells)), rel=1e-6)
    assert row.median == pytest.approx(np.median(cells), rel=0.004, abs=0.01)
    assert row.p99 == pytest.approx(np.quantile(cells, 0.99), rel=0.01)
    assert sum(row.histogram_counts) == cells.size


def test_padding_is_left_out(tmp_path):
    """Counted as zeros it would make a quarter of the layer sparse."""
    arrays = np.abs(maps()) + 1
    arrays[:, :, :, 12:] = 0
    found, row = only_layer(write_run(tmp_path / "run", arrays))
    assert (row.zeros, row.minimum >= 1) == (0, True)
    assert found.remarks == []
    _, all_cells = only_layer(write_run(tmp_path / "unknown", arrays, geometry=None))
    assert all_cells.zeros == 0.25


def test_where_the_image_is_unknown_it_is_said(tmp_path):
    found, row = only_layer(write_run(tmp_path / "run", maps(2), geometry=None))
    assert row.padding == 0
    assert found.remarks == [
        "of 2 maps it is unknown where the image lies on them; all their cells were counted, with padding if there is any"
    ]


def test_which_samples_have_the_extremes(tmp_path):
    arrays = maps()
    arrays[4, 2, 3, 3], arrays[1, 0, 5, 5] = 50, -60
    arrays[2, 0, 5, 14] = 99  # on the padding
    found, row = only_layer(write_run(tmp_path / "run", arrays), examples=2)
    assert (row.maximum, row.maximum_sample, row.minimum, row.minimum_sample) == (50, "e", -60, "b")
    channel = found.channels("2")[0]
    assert (channel.channel, channel.samples[0], channel.peaks[0], len(channel.samples)) == (2, "e", 50, 2)


def test_what_is_said_of_channels_without_a_value_above_zero(tmp_path):
    """Behind a ReLU such a channel never fires; of a convolution's own output nobody knows."""
    plain = maps()
    plain[:, 1] = -np.abs(plain[:, 1]) - 0.1
    found, row = only_layer(write_run(tmp_path / "plain", plain))
    assert (row.silent, row.activation, found.remarks) == (1, False, [])
    silent = found.channels("all")[1]
    assert (silent.silent, silent.never_fires, silent.zeros, silent.fires) == (True, None, 0, 0)
    found, row = only_layer(write_run(tmp_path / "relu", np.maximum(plain, 0)))
    assert (row.silent, row.activation, row.constant) == (1, True, 1)
    dead, alive = found.channels("0-1")[1], found.channels("0-1")[0]
    assert (dead.never_fires, dead.zeros, dead.samples, dead.saturated) == (True, 1, [], None)
    assert (alive.never_fires, alive.fires) == (False, 1)
    assert found.remarks == [
        "channels never fire on these images: neck.fpn level 0 (1 of 5); --channels all names them"
    ]


def test_saturation(tmp_path):
    arrays = maps()
    arrays[:, 3] = np.minimum(arrays[:, 3], 0.5)
    arrays[:, 4] = 7
    found, row = only_layer(write_run(tmp_path / "run", arrays))
    assert (row.saturated, row.constant) == (1, 1)
    share = (cells_of(arrays)[3] == 0.5).mean()
    rows = found.channels("all")
    assert rows[3].saturated == pytest.approx(share)
    assert (rows[4].saturated, rows[4].std, rows[4].mean) == (None, 0, 7)


def test_redundant_groups(tmp_path):
    arrays = maps()
    arrays[:, 3] = -2 * arrays[:, 0] + 1
    found, row = only_layer(write_run(tmp_path / "run", arrays))
    assert (row.groups, row.redundant) == ([[0, 3]], 1)
    assert [one.group for one in found.channels()] == [0, None, None, 0, None]


def test_the_basis_is_the_one_that_heat_maps_share(tmp_path):
    run = featscope.open_run(write_run(tmp_path / "run", maps() * np.arange(1, 6)[:, None, None].astype(np.float32)))
    found = featscope.statistics(run, most_cells=0)
    found.write_bases(tmp_path / "basis.npz")
    (mine,), (other,) = (
        read_bases(tmp_path / "basis.npz").values(),
        bases_of(run.maps, "pca", "layer", serial).values(),
    )
    for one, two in zip(mine, other):
        np.testing.assert_allclose(one, two, atol=1e-5)
    drawn = featscope.draw_run(run, tmp_path / "heat", reduce="pca", basis=str(tmp_path / "basis.npz"))
    assert (drawn.count > 0, drawn.errors) == (True, [])
    with pytest.raises(BadArrayError, match="leave out --no-covariance"):
        featscope.statistics(run, covariance=False).write_bases(tmp_path / "none.npz")


def test_levels_share_a_basis_and_weigh_by_their_cells(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    for level, side in enumerate((16, 8)):
        captured = CapturedMap("neck", "FPN", "", level, 0, 0, ["a"], "neck.fpn", AXES)
        writer.put(captured, maps(1, seed=level)[:, :, :side, :side] * (level + 1))
    writer.close()
    run = featscope.open_run(tmp_path / "run")
    (mine,) = featscope.statistics(run, most_cells=64).bases().values()
    (other,) = bases_of(run.maps, "pca", "layer", serial).values()
    assert mine.spread[0] == pytest.approx(other.spread[0], rel=0.2)
    found = featscope.statistics(run, most_cells=0, executor=backwards)
    assert [row.level for row in found.layers] == [0, 1]
    (all_cells,) = found.bases().values()
    np.testing.assert_allclose(all_cells.spread, other.spread, rtol=1e-5)


def backwards(function, items):
    """An executor that gives its results in another order."""
    return reversed(list(serial(function, items)))


def test_every_executor_gives_the_same(tmp_path):
    run = write_run(tmp_path / "run", maps(33))  # two files a job, and one is left
    first, second = featscope.statistics(run), featscope.statistics(run, executor=backwards)
    for one, two in zip(first.channels(), second.channels()):
        assert one.mean == pytest.approx(two.mean, rel=1e-9, abs=1e-12)
        assert one.std == pytest.approx(two.std, rel=1e-9)
        assert (one.samples, one.peaks, one.saturated) == (two.samples, two.peaks, two.saturated)
    assert first.layers[0].images == 33
    assert first.layers[0].histogram_counts == second.layers[0].histogram_counts
    assert first.layers[0].effective_rank == pytest.approx(second.layers[0].effective_rank, rel=1e-9)


def test_in_two_processes(tmp_path):
    run = write_run(tmp_path / "run", maps(4))
    mine, other = (featscope.statistics(run, executor=name).layers[0] for name in ("serial", "processes:2"))
    assert mine.mean == pytest.approx(other.mean, rel=1e-9)
    assert mine.variance == pytest.approx(other.variance, rel=1e-9)
    assert (mine.histogram_counts, mine.maximum_sample) == (other.histogram_counts, other.maximum_sample)


def test_the_sampled_cells_do_not_depend_on_what_else_is_counted(tmp_path):
    run = write_run(tmp_path / "run", maps())
    alone = featscope.statistics(run, sample="c", most_cells=20).layers[0]
    among = featscope.statistics(write_run(tmp_path / "one", [maps()[2]]), sample="a", most_cells=20).layers[0]
    assert alone.sampled == among.sampled == 20
    assert alone.mean == among.mean
    assert alone.histogram_counts != among.histogram_counts  # another name, other cells


def test_one_image_of_one_channel(tmp_path):
    found, row = only_layer(write_run(tmp_path / "run", maps(1, 1)))
    assert (row.images, row.effective_rank, row.redundant, row.groups) == (1, None, None, [])
    assert [one.channel for one in found.channels("top:3")] == [0]


def test_nan_and_infinity(tmp_path):
    arrays = maps()
    arrays[0, 1, 2, 2], arrays[1, 1, 3, 3], arrays[2, 0, 0, 14] = np.nan, np.inf, np.nan
    found, row = only_layer(write_run(tmp_path / "run", arrays))
    values = row.cells * 5
    assert (row.nan, row.infinite) == (1 / values, 1 / values)
    cells = cells_of(arrays)
    assert row.mean == pytest.approx(cells[np.isfinite(cells)].mean(), abs=1e-7)
    assert found.remarks == [
        "neck.fpn level 0 has 1 NaN value and 1 infinite value; they have no part in the rest",
    ]


def test_maps_of_nothing_but_nan(tmp_path):
    found, row = only_layer(write_run(tmp_path / "run", np.full_like(maps(2), np.nan)))
    assert (row.nan, row.minimum_sample, row.maximum_sample, row.effective_rank) == (1, "", "", None)
    assert np.isnan([row.mean, row.std, row.minimum, row.maximum, row.median]).all()
    assert np.isnan(found.channels()[0].mean)


def test_constant_maps(tmp_path):
    _, row = only_layer(write_run(tmp_path / "run", np.full_like(maps(2), 0.1)))
    assert (row.constant, row.variance, row.groups) == (5, 0, [])
    assert np.isnan(row.effective_rank)


def test_doubles_too_large_to_be_squared(tmp_path):
    _, row = only_layer(write_run(tmp_path / "run", maps(2).astype(np.float64) * 1e200))
    assert row.std == np.inf or np.isnan(row.std)
    assert 1e200 < row.maximum < 1e201
    assert np.isnan(row.effective_rank)


def test_integers_and_half_precision(tmp_path):
    half = maps().astype(np.float16)
    _, row = only_layer(write_run(tmp_path / "half", half))
    assert row.mean == pytest.approx(cells_of(half).mean(), abs=1e-6)
    _, row = only_layer(write_run(tmp_path / "whole", (maps() * 10).astype(np.int64)))
    assert row.variance == pytest.approx(cells_of((maps() * 10).astype(np.int64)).var(), rel=1e-6)


def test_a_film_counts_all_its_steps(tmp_path):
    film = np.random.default_rng(0).normal(size=(2, 3, 4, 16, 16)).astype(np.float32)
    axes = ("sample", "channel", "time", "row", "column")
    found, row = only_layer(write_run(tmp_path / "run", film, axes))
    assert (row.images, row.cells, row.padding) == (2, 2 * 4 * 16 * 12, 2 * 4 * 16 * 4)
    assert row.mean == pytest.approx(film[..., :12].mean(), abs=1e-6)
    assert found.channels("0")[0].fires == 1
    assert len(found.channels("0")[0].samples) == 2


def test_what_is_no_map_is_left_out_and_named(tmp_path):
    tokens = np.zeros((5, 8), np.float32)
    folder = write_run(tmp_path / "run", [tokens], ("sample", "token", "unknown"), layer="head")
    found = featscope.statistics(folder)
    assert len(found.layers) == 0
    assert found.remarks == ["1 array of head.fpn left out: not maps of the image, but tokens or vectors, for example"]
    assert len(found.channels()) == 0


def test_maps_reduced_on_capture_are_named(tmp_path):
    found, row = only_layer(write_run(tmp_path / "run", maps(2, 1), reduced="mean"))
    assert (row.reduced, row.channels) == ("mean", 1)
    assert "neck.fpn level 0 was reduced on capture (mean)" in found.remarks[0]
    assert found.bases() == {}


def test_kept_channels_have_their_own_numbers(tmp_path):
    arrays = maps(2, 3)
    arrays[:, 2] = arrays[:, 0]
    found, row = only_layer(write_run(tmp_path / "run", arrays, channels=np.array([[4, 7, 9]])))
    assert row.groups == [[4, 9]]
    assert [one.channel for one in found.channels()] == [4, 7, 9]
    assert [one.channel for one in found.channels("7")] == [7]


def test_channels_chosen_for_each_image_apart_are_refused(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    for batch, channels in enumerate(([0, 1, 2], [0, 1, 4], [0, 1, 2])):
        captured = CapturedMap(
            "neck", "FPN", "", 0, 0, batch, ["abc"[batch]], "neck.fpn", AXES, channels=np.array([channels])
        )
        writer.put(captured, maps(1, 3))
    writer.close()
    found = featscope.statistics(tmp_path / "run")
    assert len(found.layers) == 0
    assert found.remarks == [
        "neck.fpn was left out: its channels were chosen for each image apart, so none is the same in all images; "
        "capture all channels, or a list: --channels 0-15"
    ]


def test_a_folder_without_a_manifest(tmp_path):
    (tmp_path / "maps" / "neck").mkdir(parents=True)
    for number, one in enumerate(maps(3)):
        np.save(tmp_path / "maps" / "neck" / f"photo_{number}.npy", one)
    found, row = only_layer(tmp_path / "maps")
    assert (row.folder, row.level, row.images, row.cells) == ("neck", None, 3, 3 * 256)
    assert row.mean == pytest.approx(maps(3).mean(), abs=1e-6)
    assert row.maximum_sample.startswith("photo_")
    assert "no manifest, so it is unknown which cells are padding" in found.remarks[0]
    with pytest.raises(BadRunError, match="has no manifest, so it does not know its layers"):
        featscope.statistics(tmp_path / "maps", layers="neck")


def test_a_damaged_file_is_named_and_the_others_are_counted(tmp_path):
    folder = write_run(tmp_path / "run", maps(4))
    damaged = folder / "neck.fpn" / "batch_1_layer_0.npy"
    damaged.write_bytes(damaged.read_bytes()[:300])
    found = featscope.statistics(folder)
    assert found.layers[0].images == 3
    assert [text.startswith(str(damaged)) for text in found.errors] == [True]
    np.save(damaged, np.zeros((1, 4, 16, 16), np.float32))
    assert "has 4 channels, but its record says 5" in featscope.statistics(folder).errors[0]


def test_invalid_options(tmp_path):
    folder = write_run(tmp_path / "run", maps(1))
    for name, value in (("examples", 0), ("most_cells", -1), ("correlation", 0), ("correlation", 1.5)):
        with pytest.raises(BadOptionError, match=name):
            featscope.statistics(folder, **{name: value})
    with pytest.raises(UnknownNameError, match="there is no layer 'nekc'; did you mean 'neck'"):
        featscope.statistics(folder, layers="nekc")
    with pytest.raises(BadOptionError, match="the widest one has 5 channels"):
        featscope.statistics(folder).channels("5-9")


def test_covariances_that_would_not_fit_into_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "_MOST_BYTES", 100)
    folder = write_run(tmp_path / "run", maps(1))
    with pytest.raises(BadOptionError, match="--no-covariance"):
        featscope.statistics(folder)
    assert featscope.statistics(folder, covariance=False).layers[0].effective_rank is None


def test_an_empty_run(tmp_path):
    RunWriter(tmp_path / "run", RunInfo()).close()
    found = featscope.statistics(tmp_path / "run")
    assert (len(found.layers), len(found.channels()), found.errors, found.remarks) == (0, 0, [], [])


def test_a_notebook_shows_the_layers(tmp_path):
    found, _ = only_layer(write_run(tmp_path / "run", maps(2)))
    assert repr(found) == f"<Statistics of 1 level of {tmp_path / 'run'}>"
    assert "effective_rank" in found._repr_html_()
    assert "histogram_low" not in found._repr_html_()
