from dataclasses import replace

import numpy as np
import pytest
from conftest import pixels
from PIL import Image

from featscope.errors import BadOptionError, UnknownNameError, UnknownReadingError
from featscope.records import Boxes, CapturedMap, Geometry, MeasuredPlace, RunInfo, Sample
from featscope.render.heat import STYLES, HeatStyle, draw_heat
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.render.mosaic_plan import MosaicOptions, plan_mosaics
from featscope.render.png import read_text
from featscope.store.feature_maps import feature_maps
from featscope.store.maps import MapFile
from featscope.store.places import write_places
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

BARE = replace(STYLES["featscope"], legend=False)


def test_a_map_of_each_image_has_its_sample(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 4, 4)))
    samples = (Sample("left"), Sample("right"))
    found = list(feature_maps(MapFile(tmp_path / "x.npy", "", None, samples)))
    assert [(f.sample.id, f.stem, f.array.shape) for f in found] == [
        ("left", "x_left", (3, 4, 4)),
        ("right", "x_right", (3, 4, 4)),
    ]


def test_regions_of_interest_are_not_placed_on_the_image(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 7, 7)))
    sample = Sample("a", geometry=Geometry((20, 30), (20, 30), (32, 32)))
    assert [f.sample for f in feature_maps(MapFile(tmp_path / "x.npy", "", None, (sample,)))] == [None] * 5


@pytest.mark.parametrize(("value_range", "top"), [("map", 255), ("layer", 255), ("run", 128)])
def test_ranges_that_maps_share(tmp_path, value_range, top):
    for folder, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.array([[0.0, value]]))
    run = open_run(tmp_path)
    options = HeatOptions(style=HeatStyle(colormap="gray", range=value_range))
    outcome = run_jobs(run.maps, plan_heat(run, run.maps, options), tmp_path / "out")
    assert outcome.pictures == 2
    assert pixels(tmp_path / "out" / "a" / "x.png")[0, 1, 0] == top
    assert pixels(tmp_path / "out" / "b" / "x.png")[0, 1, 0] == 255


def test_maps_are_chosen_by_folder_or_file(run):
    opened = open_run(run)
    assert len(opened.choose(["neck*"])) == 2
    assert [m.path.name for m in opened.choose(["*/batch_0_layer_1.npy"])] == ["batch_0_layer_1.npy"]


def test_boxes_are_drawn_in_pixels_of_the_original(run):
    lines = (run / "samples-00000.jsonl").read_text()
    boxes = '"truth":{"form":"xyxy","boxes":[[5,5,20,15]],"labels":[0]}'
    (run / "samples-00000.jsonl").write_text(lines.replace('"geometry"', boxes + ',"geometry"'))
    opened = open_run(run)
    assert opened.samples["a"].truth == Boxes("xyxy", [[5, 5, 20, 15]], [0])
    maps = opened.maps[:1]
    run_jobs(maps, plan_heat(opened, maps, HeatOptions(style=BARE, truth=True)), run / "heat")
    picture = pixels(run / "heat" / "neck.fpn" / "a_level0_overlay.png")
    assert (picture[10, 5] == 255).all()
    assert (picture[15, 10] == 255).all()
    assert not (picture[10, 10] == 255).all()


def test_a_picture_is_drawn_again_when_its_record_changes(run):
    def draw():
        opened = open_run(run)
        outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), run / "heat")
        return outcome.pictures, outcome.skipped

    assert draw() == (4, 0)
    assert draw() == (0, 4)
    manifest = run / "manifest-00000.jsonl"
    first = open_run(run).maps[0].record
    manifest.write_text(manifest.read_text().replace(f'"checksum":{first.checksum}', '"checksum":1'))
    assert draw() == (2, 2)
    samples = run / "samples-00000.jsonl"
    samples.write_text(samples.read_text().replace('"resized":[20,30]', '"resized":[20,28]'))
    assert draw() == (4, 0)


def test_a_map_that_was_reduced_on_capture_is_drawn_as_it_is(run):
    manifest = run / "manifest-00000.jsonl"
    whole = np.load(run / "neck.fpn" / "batch_0_layer_0.npy")
    np.save(run / "neck.fpn" / "batch_0_layer_0.npy", np.sqrt((whole**2).sum(1, keepdims=True)))
    manifest.write_text(manifest.read_text().replace('"stride"', '"reduced":"l2","stride"'))
    opened = open_run(run)
    plan = plan_heat(opened, opened.maps, HeatOptions(style=HeatStyle(reduce="std", colormap="gray")))
    outcome = run_jobs(opened.maps[:1], plan, run / "heat")
    assert "already reduced by l2 during the capture, so -r std has no effect" in outcome.remarks[0]
    drawn = pixels(run / "heat" / "neck.fpn" / "a_level0.png")
    assert drawn.min() == 0
    assert drawn.max() > 150, "the deviation of one channel would be flat"


def test_maps_are_drawn_where_they_were_measured_to_look(run, tmp_path):
    def drawn(name, **options):
        style = options.pop("style", HeatStyle(colormap="gray", smooth=False))
        opened = open_run(run)
        plan = plan_heat(opened, opened.maps[:1], HeatOptions(style=style, overlay=False, **options))
        assert run_jobs(opened.maps[:1], plan, tmp_path / name).pictures == 1
        path = tmp_path / name / "neck.fpn" / "a_level0.png"
        return pixels(path), read_text(path)["place"]

    before, known = drawn("before")
    assert known == "assumed"
    one = MeasuredPlace("neck", "", 0, (4.0, 4.0), (1.5, 0.5), (0.01, 0.01), 30, "detections")
    write_places(run, open_run(run).info.started, [one])
    after, known = drawn("after")
    assert known == "measured"
    assert (after[4:] == before[:-4]).all()  # a cell lower, at four pixels each
    assert not (after == before).all()
    stretched, known = drawn("stretched", place="assumed")
    assert known == "assumed"
    assert (stretched == before).all()
    assert drawn("jet", style=STYLES["jet"])[1] == "assumed"
    with pytest.raises(UnknownNameError, match="measured"):
        drawn("wrong", place="mesured")


def test_a_picture_is_drawn_again_when_its_place_was_measured(run):
    def draw():
        opened = open_run(run)
        outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions(overlay=False)), run / "heat")
        return outcome.pictures, outcome.skipped

    assert draw() == (2, 0)
    one = MeasuredPlace("neck", "", 0, (4.0, 4.0), (1.5, 0.5), (0.01, 0.01), 30, "detections")
    write_places(run, open_run(run).info.started, [one])
    assert draw() == (1, 1)


class TestFilms:
    @pytest.fixture
    def folder(self, tmp_path, random):
        (tmp_path / "body").mkdir()
        np.save(tmp_path / "body" / "x.npy", random.random((2, 3, 4, 5, 6), np.float32))
        return tmp_path

    def test_they_are_drawn_slice_by_slice(self, folder):
        opened = open_run(folder)
        outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions(style=BARE)), folder / "out")
        assert (outcome.pictures, outcome.errors) == (8, [])
        names = [f"x_{image}_t{step:03d}.png" for image in range(2) for step in range(4)]
        assert sorted(path.name for path in (folder / "out" / "body").iterdir()) == names
        array = np.load(folder / "body" / "x.npy")
        for image in range(2):
            for step in range(4):
                np.testing.assert_array_equal(
                    pixels(folder / "out" / "body" / f"x_{image}_t{step:03d}.png"),
                    pixels(draw_heat(array[image, :, step]).png),
                )

    def test_one_range_for_all_slices(self, folder):
        array = np.load(folder / "body" / "x.npy")
        array[:, :, 0] = 0
        np.save(folder / "body" / "x.npy", array)
        opened = open_run(folder)
        options = HeatOptions(style=HeatStyle(colormap="gray", range="layer"))
        run_jobs(opened.maps, plan_heat(opened, opened.maps, options), folder / "out")
        assert pixels(folder / "out" / "body" / "x_1_t000.png").max() == 0
        assert max(pixels(path).max() for path in (folder / "out" / "body").iterdir()) == 255

    def test_their_mosaics(self, folder):
        opened = open_run(folder)
        outcome = run_jobs(opened.maps, plan_mosaics(opened, opened.maps, MosaicOptions()), folder / "out")
        assert (outcome.pictures, outcome.errors) == (8, [])


class TestOneImageForMaps:
    @pytest.fixture
    def two(self, run):
        """A run whose one batch holds two samples."""
        writer = RunWriter(run.parent / "two", RunInfo())
        for name in ("a", "b"):
            writer.put_sample(Sample(name, geometry=Geometry((20, 30), (20, 30), (32, 32))), None)
        array = np.zeros((2, 3, 8, 8), np.float32)
        array[1] = 1
        writer.put(CapturedMap("neck", "FPN", "", 0, 0, 0, ["a", "b"], "neck.fpn"), array)
        writer.close()
        return run.parent / "two"

    def test_of_several_samples_one_is_to_be_named(self, run, two):
        opened = open_run(two)
        options = HeatOptions(image=run.parent / "photo.png")
        with pytest.raises(BadOptionError, match=r"maps belong to several: a, b; say which one it is \(--sample a\)"):
            plan_heat(opened, opened.choose(), options)
        maps = opened.choose(sample="b")
        outcome = run_jobs(maps, plan_heat(opened, maps, options), two / "heat")
        assert outcome.errors == []
        assert sorted(path.name for path in (two / "heat" / "neck.fpn").iterdir()) == [
            "b_level0.png", "b_level0_overlay.png"]  # fmt: skip

    def test_it_is_read_as_the_sample_was(self, run):
        """A photo on its side under maps of the upright one."""
        exif = Image.Exif()
        exif[0x0112] = 6
        photo = run.parent / "phone.png"
        Image.fromarray(np.full((30, 20, 3), 128, np.uint8)).save(photo, exif=exif)
        opened = open_run(run)
        maps = opened.maps[:1]
        with pytest.raises(UnknownReadingError, match="orientation tag"):
            plan_heat(opened, maps, HeatOptions(image=photo))
        outcome = run_jobs(
            maps, plan_heat(opened, maps, HeatOptions(style=BARE, image=photo, reading="cv2+exif")), run / "heat"
        )
        assert outcome.errors == []
        assert pixels(run / "heat" / "neck.fpn" / "a_level0_overlay.png").shape == (20, 30, 3)


def test_what_is_no_map_of_the_image_is_not_drawn_and_is_named(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    array = np.ones((1, 3, 4, 4), np.float32)
    for folder, axes in (("neck", ("sample", "channel", "row", "column")), ("queries", ("sample", *["unknown"] * 3))):
        writer.put(CapturedMap(folder, "X", "", 0, 0, 0, [], folder, axes=axes), array)
    writer.close()
    opened = open_run(tmp_path / "run")
    outcome = run_jobs(opened.maps, plan_heat(opened, opened.maps, HeatOptions()), tmp_path / "heat")
    assert outcome.no_maps == ["queries"]
    assert not outcome.errors
    assert [path.parent.name for path in (tmp_path / "heat").rglob("*.png")] == ["neck"]
