"""Samples from the maps of two runs: the same images, the same places, no padding."""

import numpy as np
import pytest

from featscope.analysis.likeness import LikenessOptions, pair_of
from featscope.analysis.likeness_samples import RunSamples, likeness_of_runs
from featscope.errors import BadOptionError, BadRunError, UnknownNameError
from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.store.writer import RunWriter

FINE, COARSE = ("neck", "", 0), ("neck", "", 1)
INPUT = Geometry((64, 48), (64, 48), (64, 64))  # a quarter of each map is padding
NAMES = tuple("abcdef")


def write(folder, seed=0, names=NAMES, geometry=INPUT, batch=1, channels=None, without=(), **more):
    """A run of a neck of two levels, stride 8 and 16. The first channel is 1000 on the padding.

    channels: those that were kept, for each image. without: images whose maps are missing.
    """
    writer = RunWriter(folder, RunInfo(model="Toy"))
    for number, start in enumerate(range(0, len(names), batch)):
        here = list(names[start : start + batch])
        for name in here:
            writer.put_sample(Sample(name, batch=number, geometry=geometry), None)
        if set(here) & set(without):
            continue
        kept = None if channels is None else np.array(channels[number : number + 1])
        for level, stride in enumerate((8, 16)):
            cells = 64 // stride
            maps = np.stack(
                [np.random.default_rng([seed, level, ord(n)]).normal(size=(3, cells, cells)) for n in here]
            ).astype(np.float32)
            maps[:, 0, :, 48 // stride :] = 1000
            place = Place((stride, stride), (stride / 2, stride / 2), "operators")
            axes = ("sample", "channel", "row", "column")
            about = {"axes": axes, "place": place, "channels": kept, **more}
            captured = CapturedMap("neck", "FPN", "", level, 0, number, here, "neck.fpn", **about)
            writer.put(captured, maps)
    writer.close()
    return folder


@pytest.fixture
def two(tmp_path):
    return write(tmp_path / "one"), write(tmp_path / "two", seed=1, batch=4)


def maps_of(seed, level, name):
    cells = 8 >> level
    return np.random.default_rng([seed, level, ord(name)]).normal(size=(3, cells, cells))[:, :, : 6 >> level]


def test_images_are_means_without_padding(two):
    blocks = list(RunSamples(*two))
    assert [block.images.tolist() for block in blocks] == [[i] for i in range(6)]
    for block, name in zip(blocks, NAMES):
        for key, level in ((FINE, 0), (COARSE, 1)):
            np.testing.assert_allclose(block.first[key][0], maps_of(0, level, name).mean((1, 2)), rtol=1e-5)
            np.testing.assert_allclose(block.second[key][0], maps_of(1, level, name).mean((1, 2)), rtol=1e-5)


def test_cells_lie_at_the_same_places_and_not_on_the_padding(two):
    blocks = [block for block in RunSamples(*two, "cells", cells=1000) if block.group == "stride 8 x 8"]
    assert len(blocks) == 6
    for block, name in zip(blocks, NAMES):
        assert block.pairs == {(FINE, FINE)}
        for table, seed in ((block.first[FINE], 0), (block.second[FINE], 1)):
            np.testing.assert_allclose(table, maps_of(seed, 0, name).reshape(3, -1).T, rtol=1e-5)


def test_cells_of_other_strides_meet_on_the_coarser_grid(two):
    blocks = [block for block in RunSamples(*two, "cells", cells=1000) if block.group == "stride 16 x 16"]
    assert len(blocks) == 6
    for block, name in zip(blocks, NAMES):
        assert block.pairs == {(FINE, COARSE), (COARSE, FINE), (COARSE, COARSE)}
        fine = maps_of(0, 0, name).reshape(3, 4, 2, 3, 2).mean((2, 4)).reshape(3, -1).T
        np.testing.assert_allclose(block.first[FINE], fine, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(block.second[COARSE], maps_of(1, 1, name).reshape(3, -1).T, rtol=1e-5)


def test_at_most_so_many_cells_of_an_image_by_the_seed(two):
    one, same, other = (list(RunSamples(*two, "cells", cells=5, seed=seed)) for seed in (3, 3, 4))
    assert {len(block.images) for block in one} == {5}
    for block, again in zip(one, same):
        np.testing.assert_array_equal(block.first[FINE], again.first[FINE])
    assert any((a.first[FINE] != b.first[FINE]).any() for a, b in zip(one, other))
    places = {np.argmin(abs(maps_of(0, 0, n)[0].ravel() - b.first[FINE][0, 0])) for n, b in zip(NAMES, one[::2])}
    assert len(places) > 1  # not the same cells in every image


def test_padding_would_make_unrelated_maps_alike(two):
    rows = likeness_of_runs(*two, "cells", LikenessOptions(shuffles=20, resamples=20), cells=1000)
    assert [pair_of(row) for row in rows] == [(a, b) for a in (FINE, COARSE) for b in (FINE, COARSE)]
    assert all(abs(row.value) < 0.2 for row in rows)
    assert [row.samples for row in rows] == [6 * 48, 6 * 12, 6 * 12, 6 * 12]
    whole = Geometry((64, 64), (64, 64), (64, 64))
    padded = [write(folder.parent / f"{folder.name}_padded", i, geometry=whole) for i, folder in enumerate(two)]
    row = likeness_of_runs(*padded, "cells", LikenessOptions(shuffles=20, resamples=20), cells=1000)[0]
    assert row.value > 0.99


def test_a_run_is_like_itself(two):
    rows = likeness_of_runs(two[0], two[0], "cells")
    same = {pair_of(row): row for row in rows}
    assert same[FINE, FINE].value == pytest.approx(1, abs=1e-9)
    assert same[FINE, COARSE].value < 0.5
    assert same[FINE, FINE].high == pytest.approx(1, abs=1e-9)


def test_some_layers_and_some_level(two):
    rows = likeness_of_runs(*two, layers="neck", level=1)
    assert [pair_of(row) for row in rows] == [(COARSE, COARSE)]
    with pytest.raises(UnknownNameError, match="there is no layer 'nekc'"):
        likeness_of_runs(*two, layers="nekc")


def test_an_image_that_a_layer_lacks_is_left_out_and_counted(two, tmp_path):
    third = write(tmp_path / "third", without="f")
    rows = likeness_of_runs(two[0], third)
    assert {(row.samples, row.left_out) for row in rows} == {(5, 1)}
    walk = RunSamples(two[0], third)
    assert len(list(walk)) == 5
    assert walk.left_out == {"f": f"{third} has no map of neck 0 for it"}


def test_a_run_without_geometry_is_refused(two, tmp_path):
    bare = write(tmp_path / "bare", geometry=None)
    with pytest.raises(BadRunError, match="no common image can be compared, as for a: .* so what is padding"):
        likeness_of_runs(two[0], bare)


def test_images_that_were_fed_in_two_ways(two, tmp_path):
    other = write(tmp_path / "other", geometry=Geometry((64, 48), (64, 64), (64, 64)))
    with pytest.raises(BadRunError, match="a was fed in two ways: .* take images or objects as samples"):
        likeness_of_runs(two[0], other, "cells")
    assert len(likeness_of_runs(two[0], other, "images")) == 4


def test_maps_that_lost_their_channels(two, tmp_path):
    reduced = write(tmp_path / "reduced", reduced="absmean")
    with pytest.raises(BadRunError, match=r"neck 0 in .*reduced were reduced on capture \(absmean\)"):
        likeness_of_runs(two[0], reduced)
    same = write(tmp_path / "same", channels=[[1, 5, 7]] * 6)
    assert len(likeness_of_runs(two[0], same)) == 4
    other = write(tmp_path / "other", channels=[[1, 5, 7]] * 5 + [[1, 5, 8]])
    with pytest.raises(BadRunError, match=r"neck 0 in .*other have other channels in each image"):
        likeness_of_runs(two[0], other)


def test_runs_that_do_not_fit(two, tmp_path):
    with pytest.raises(BadRunError, match="have no image in common; capture both on the same images"):
        likeness_of_runs(two[0], write(tmp_path / "other", names=("x", "y", "z", "w")))
    with pytest.raises(BadRunError, match="1 sample cannot show how alike two layers are"):
        likeness_of_runs(write(tmp_path / "a", names=("a",)), two[1])
    assert likeness_of_runs(tmp_path / "a", two[1], "cells")[0].remark == "no interval: too few images (1)"
    (tmp_path / "bare" / "neck").mkdir(parents=True)
    np.save(tmp_path / "bare" / "neck" / "a.npy", np.ones((3, 4, 4)))
    with pytest.raises(BadRunError, match="bare has no manifest"):
        likeness_of_runs(two[0], tmp_path / "bare")
    with pytest.raises(UnknownNameError, match="there is no kind of sample 'pixels'"):
        likeness_of_runs(*two, "pixels")
    with pytest.raises(BadOptionError, match="0 cells of an image are too few"):
        likeness_of_runs(*two, "cells", cells=0)
