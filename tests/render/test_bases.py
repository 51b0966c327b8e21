"""The basis that the maps of a call share: whose it is, and what happens where there is none."""

import numpy as np
import pytest
from conftest import pixels

from featscope.arrays.basis import Moments
from featscope.errors import BadArrayError, BadOptionError
from featscope.records import CapturedMap, Geometry, Place, RunInfo, Sample
from featscope.render import bases
from featscope.render.bases import bases_of, basis_key, read_bases, write_bases
from featscope.render.heat import STYLES, style_named
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.scale.executor import serial
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

SHIP, PLANE, GROUND = np.eye(16)[:3]


@pytest.fixture
def two(tmp_path):
    """A run of two images: the same things on other areas, and no plane in the second; the padding at the right is like none of them."""
    writer = RunWriter(tmp_path / "run", RunInfo())
    for batch, (ships, planes) in enumerate(((3, 9), (12, 0))):
        array = np.zeros((16, 16, 16), np.float32) + GROUND[:, None, None].astype(np.float32)
        array[:, :ships, :4] = 3 * SHIP[:, None, None]
        array[:, 14 - planes : 14, 4:8] = 3 * PLANE[:, None, None]
        array[15, :, 12:] = 1000
        name = "ab"[batch]
        writer.put_sample(Sample(name, batch=batch, geometry=Geometry((64, 48), (64, 48), (64, 64))))
        place = Place((4.0, 4.0), (2.0, 2.0), "operators")
        writer.put(CapturedMap("neck", "FPN", "", 0, 0, batch, [name], "neck.fpn", place=place), array[None])
    writer.close()
    return open_run(tmp_path / "run")


def _colours(run, folder, basis):
    """The colour of a ship in each image."""
    style = style_named("featscope", reduce="pca", legend=False, smooth=False)
    outcome = run_jobs(run.maps, plan_heat(run, run.maps, HeatOptions(style=style, overlay=False, basis=basis)), folder)
    assert outcome.errors == []
    return [pixels(folder / "neck.fpn" / f"{name}_level0.png")[4, 3].astype(int) for name in "ab"]


@pytest.mark.parametrize("basis", ["layer", "run"])
def test_a_thing_has_one_colour_in_all_pictures(two, tmp_path, basis):
    first, second = _colours(two, tmp_path / "heat", basis)
    np.testing.assert_array_equal(first, second)


def test_with_a_basis_for_each_map_it_has_not(two, tmp_path):
    first, second = _colours(two, tmp_path / "heat", "map")
    assert np.abs(first - second).max() > 20


def test_the_padding_has_no_part_in_it(two):
    """It is 300 times stronger than anything on the image, and would be the first component."""
    found = bases_of(two.maps, "pca", "layer", serial)
    assert list(found) == [("neck.", 16)]
    assert np.abs(found["neck.", 16].vectors[:, 15]).max() < 1e-9


def test_a_basis_is_kept_and_used_for_another_run(two, tmp_path):
    found = bases_of(two.maps, "pca", "layer", serial)
    write_bases(found, tmp_path / "basis.npz")
    kept = read_bases(tmp_path / "basis.npz")
    assert list(kept) == list(found)
    for mine, theirs in zip(found["neck.", 16], kept["neck.", 16]):
        np.testing.assert_array_equal(mine, theirs)
    expected = _colours(two, tmp_path / "one", "layer")
    np.testing.assert_array_equal(_colours(two, tmp_path / "other", str(tmp_path / "basis.npz")), expected)


def test_a_layer_without_a_basis_in_the_file_is_an_error(two, tmp_path):
    other = Moments.of(np.random.default_rng(0).random((8, 4, 4))).basis()
    write_bases({("backbone.", 8): other}, tmp_path / "basis.npz")
    with pytest.raises(BadOptionError, match=r"no basis for neck\. \(16 channels\); it has bases for backbone\. \(8\)"):
        bases_of(two.maps, "pca", str(tmp_path / "basis.npz"), serial)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_another_file_is_named(tmp_path, content):
    (tmp_path / "basis.npz").write_bytes(content)
    with pytest.raises(BadArrayError, match=r"basis\.npz is not a file of bases"):
        read_bases(tmp_path / "basis.npz")


def test_an_executor_that_fails_is_an_error_and_no_other_basis(two):
    def broken(function, items):
        for item in items:
            yield item, MemoryError("too little")

    with pytest.raises(BadArrayError, match=r"the basis of neck\. could not be computed: .*too little"):
        bases_of(two.maps, "pca", "layer", broken)


def test_maps_of_other_channels_in_a_folder_made_by_hand_have_another_basis(tmp_path):
    (tmp_path / "maps").mkdir()
    random = np.random.default_rng(0)
    for number, channels in enumerate((4, 6, 4)):
        np.save(tmp_path / "maps" / f"{number}.npy", random.random((channels, 5, 5)))
    run = open_run(tmp_path / "maps")
    assert [basis_key(m, "layer")[1] for m in run.maps] == [4, 6, 4]
    style = style_named("featscope", reduce="pc1")
    outcome = run_jobs(run.maps, plan_heat(run, run.maps, HeatOptions(style=style)), tmp_path / "out")
    assert (outcome.pictures, outcome.errors) == (3, [])


def test_of_many_maps_some_are_taken_from_first_to_last(two, monkeypatch):
    monkeypatch.setattr(bases, "_MOST_MAPS", 8)
    many = list(two.maps) * 50
    (kept,) = bases._groups(many, "layer").values()
    assert 4 <= len(kept) < 8
    assert kept[0] is many[0]


def test_no_components_no_basis(two):
    assert bases_of(two.maps, STYLES["featscope"].reduce, "layer", serial) == {}
