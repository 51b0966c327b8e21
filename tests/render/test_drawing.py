"""A run is drawn by one call, and what came of it shows itself."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import pixels

import featscope
from featscope.errors import BadOptionError, BadRunError, UnknownNameError
from featscope.records import Boxes, Geometry, Policy, RunInfo, Sample
from featscope.render.heat import HeatStyle
from featscope.store.lines import read_lines
from featscope.store.writer import RunWriter


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_heat_maps_of_a_run(run):
    drawn = featscope.draw_run(run)
    assert (drawn.folder, drawn.count, drawn.maps, drawn.skipped) == (run / "heat", 4, 2, 0)
    assert (drawn.errors, drawn.remarks) == ([], [])
    assert files(drawn.folder) == [
        "neck.fpn/a_level0.png",
        "neck.fpn/a_level0_overlay.png",
        "neck.fpn/a_level1.png",
        "neck.fpn/a_level1_overlay.png",
    ]
    assert drawn.bytes == sum(path.stat().st_size for path in drawn.folder.rglob("*.png"))
    again = featscope.draw_run(featscope.open_run(run))
    assert (again.count, again.skipped) == (0, 4)
    assert again.first == drawn.first


def test_a_part_of_a_run_elsewhere(run, tmp_path):
    drawn = featscope.draw_run(str(run), str(tmp_path / "out"), layers="neck", level=1, alone=False)
    assert (
        files(tmp_path / "out")
        == ["neck.fpn/a_level1_overlay.png"]
        == [path.relative_to(drawn.folder).as_posix() for path in drawn.first]
    )
    with pytest.raises(UnknownNameError, match="did you mean 'neck'"):
        featscope.draw_run(run, layers=["nek"])


def test_a_style_by_name_or_as_it_is(run, tmp_path):
    featscope.draw_run(run, tmp_path / "a", style="jet", alpha=0.25)
    featscope.draw_run(
        run, tmp_path / "b", style=HeatStyle(colormap="jet", resize="values", stretched=True, alpha=0.25)
    )
    featscope.draw_run(run, tmp_path / "c", style="jet")
    a, b, c = (pixels(tmp_path / name / "neck.fpn" / "a_level0_overlay.png") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_levels_side_by_side(run):
    drawn = featscope.draw_run(run, panel=True)
    assert files(drawn.folder) == ["neck.fpn/a_levels.png"]


def test_mosaics_of_a_run(run):
    drawn = featscope.draw_mosaics(run, channels="0-1", columns=2, scale=4, gap=1, titles=False)
    assert (drawn.folder, drawn.count) == (run / "render", 2)
    assert pixels(drawn.folder / "neck.fpn" / "a_level1.png").shape[:2] == (16, 33)
    single = featscope.draw_mosaics(run, run.parent / "single", single=True)
    assert single.count == 6
    peer = featscope.draw_mosaics(run, run.parent / "peer", style="mmengine_topk")
    assert pixels(peer.folder / "neck.fpn" / "a_level1.png").shape[:2] == (4, 12), "no gap"


@pytest.mark.parametrize(
    ("draw", "option", "value"),
    [
        (featscope.draw_run, "alpha", 1.5),
        (featscope.draw_run, "min_score", -0.1),
        (featscope.draw_run, "max_size", -1),
        (featscope.draw_mosaics, "scale", 0),
        (featscope.draw_mosaics, "columns", -2),
        (featscope.draw_mosaics, "gap", -1),
    ],
)
def test_numbers_that_mean_nothing(run, draw, option, value):
    with pytest.raises(BadOptionError, match=f"{option}={value}"):
        draw(run, **{option: value})
    assert not (run / "heat").exists()
    assert not (run / "render").exists()


@pytest.mark.parametrize(
    ("draw", "options"),
    [
        (featscope.draw_run, {"style": "jett"}),
        (featscope.draw_run, {"format": "tiff"}),
        (featscope.draw_run, {"executor": "threads"}),
        (featscope.draw_mosaics, {"style": "jet"}),
        (featscope.draw_mosaics, {"colormap": "no such map"}),
    ],
)
def test_names_that_mean_nothing(run, draw, options):
    with pytest.raises(UnknownNameError):
        draw(run, **options)
    assert not (run / "heat").exists()


def test_what_fails_is_kept_and_warned_of(run):
    (run / "neck.fpn" / "batch_0_layer_1.npy").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="batch_0_layer_1") as caught:
        drawn = featscope.draw_run(run)
    assert caught[0].filename == __file__
    assert drawn.count == 2
    assert "1 failed: see .errors" in repr(drawn)
    assert "batch_0_layer_1.npy" in drawn._repr_html_()


def test_who_watches_sees_the_drawing_and_takes_over_the_warning(run):
    (run / "neck.fpn" / "batch_0_layer_1.npy").write_bytes(b"")
    seen = []

    @contextmanager
    def watch(drawing):
        seen.append(len(drawing.maps))
        yield lambda: seen.append("one")
        seen.append("end")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(featscope.draw_run(run, watch=watch).errors) == 1
    assert seen == [2, "one", "one", "end"]


def test_a_contact_sheet_shows_the_pictures_over_their_images(run):
    drawn = featscope.draw_run(run)
    page = drawn._repr_html_()
    assert page.count("data:image/png;base64,") == 2
    assert "neck.fpn/a_level0_overlay.png" in page
    (drawn.folder / "neck.fpn" / "a_level0_overlay.png").unlink()
    assert drawn._repr_html_().count("data:image/png;base64,") == 1
    assert featscope.draw_run(run, run.parent / "alone", overlay=False)._repr_html_().count("<img") == 2


def test_a_run_of_many_maps_remembers_a_few(run):
    drawn = featscope.draw_mosaics(run, single=True, channels="0,1,2")
    assert len(drawn.first) == 6
    many = np.zeros((40, 2, 2), np.float32)
    (run.parent / "bare" / "layer").mkdir(parents=True)
    np.save(run.parent / "bare" / "layer" / "a.npy", many)
    drawn = featscope.draw_mosaics(run.parent / "bare", single=True)
    assert drawn.count == 40
    assert len(drawn.first) == 16


def test_pictures_are_drawn_again_when_only_the_boxes_have_changed(run):
    """The short text of a sample does not tell one of its boxes from another; what is drawn does."""

    def with_box(box):
        (sample,) = (record for _, _, record in read_lines(run / "samples-00000.jsonl", Sample))
        import msgspec

        changed = msgspec.structs.replace(sample, predictions=Boxes("xyxy", [box], [0], [0.9]))
        (run / "samples-00000.jsonl").write_bytes(msgspec.json.encode(changed) + b"\n")
        return featscope.draw_run(run, boxes=True)

    assert with_box([2, 2, 20, 15]).count == 4
    assert with_box([2, 2, 20, 15]).skipped == 4
    moved = with_box([2, 2, 20, 16])
    assert (moved.count, moved.skipped) == (4, 0)


def test_a_photo_under_all(run, tmp_path):
    bare = tmp_path / "bare"
    (bare / "neck").mkdir(parents=True)
    np.save(bare / "neck" / "a.npy", np.random.default_rng(0).random((3, 10, 15), np.float32))
    drawn = featscope.draw_run(bare, under=str(tmp_path / "photo.png"), style="jet", alone=False)
    assert pixels(bare / "heat" / "neck" / "a_overlay.png").shape == (20, 30, 3)
    assert drawn.errors == []


def test_an_own_map_is_placed_as_a_map_of_the_run_is(run):
    """What a run draws is what its arrays and records draw by hand."""
    map_file = featscope.open_run(run).maps[0]
    sample, place = map_file.samples[0], map_file.place()
    assert isinstance(sample.geometry, Geometry)
    drawn = featscope.draw_run(run, style="jet", alone=False)
    photo = pixels(run.parent / "photo.png")
    by_hand = featscope.draw_heat(
        map_file.load(), featscope.HeatStyle(colormap="jet", resize="values", stretched=True), image=photo,
        geometry=sample.geometry,
    )  # fmt: skip
    assert place is not None
    assert np.array_equal(pixels(drawn.folder / "neck.fpn" / "a_level0_overlay.png"), pixels(by_hand.png))


def test_a_run_of_objects_has_no_maps_to_draw(tmp_path):
    RunWriter(tmp_path / "run", RunInfo(model="Toy", policy=Policy(objects=True))).close()
    for draw in (featscope.draw_run, featscope.draw_mosaics):
        with pytest.raises(BadRunError, match="stores objects in place of maps"):
            draw(tmp_path / "run")
