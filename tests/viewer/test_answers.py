"""What the page is answered."""

import io
import json
import shlex
import time

import numpy as np
import pytest
from PIL import Image

from featscope import open_run
from featscope.arrays import reduce
from featscope.cli import main
from featscope.errors import BadRunError
from featscope.explaining.methods import METHODS
from featscope.records import CapturedMap, MeasuredPlace, RunInfo, Sample
from featscope.render.png import encode_rgb
from featscope.store.places import write_places
from featscope.store.writer import RunWriter, read_info
from featscope.viewer.answers import QUESTIONS, Viewer
from featscope.viewer.openapi import openapi
from featscope.viewer.run_answers import COLORMAPS, EXPLAINS, REDUCTIONS

HOSTILE = "<img src=x onerror=alert(1)>"


def status(viewer, name, **query):
    answer = viewer.answer(name, {key: str(value) for key, value in query.items()})
    return answer.status, json.loads(answer.body).get("error", "") if answer.status != 304 else ""


def test_about_names_the_layers_and_how_their_cells_place_is_known(two_samples, ask):
    about = ask(Viewer([two_samples]), "about")
    run = about["runs"][0]
    assert (run["model"], run["samples"], run["maps"], run["live"]) == ("Toy", 2, 4, False)
    assert run["classes"] == ["ship", HOSTILE]
    levels = run["groups"][0]["levels"]
    assert [(one["level"], one["shape"], one["channels"]) for one in levels] == [
        (0, "3 x 8 x 8", 3),
        (1, "3 x 4 x 4", 3),
    ]
    assert levels[0]["place"] == "operators"
    assert set(about["colormaps"]) == set(COLORMAPS)


def test_samples_are_columns(two_samples, ask):
    columns = ask(Viewer([two_samples]), "samples")
    assert columns["ids"] == ["photo", HOSTILE]
    assert columns["detections"] == [2, None]
    assert columns["classes"] == [[0, 1], []]
    assert columns["image"] == [True, False]
    assert columns["smallest"][0] == pytest.approx(np.sqrt(16 * 12), abs=0.01)


def test_a_sample_has_its_boxes_with_the_cells_that_gave_them(two_samples, ask):
    viewer = Viewer([two_samples])
    sample = ask(viewer, "sample", sample=0)
    assert sample["frame"] == [40, 60]
    box = sample["detections"][0]
    assert (box["name"], box["state"], box["cells"]) == (
        "ship",
        "one source",
        [{"level": 0, "row": 2, "column": 3, "shape": None, "group": None}],
    )
    assert sample["detections"][1]["state"] == "not found"
    assert sample["truth"][0]["polygon"] == [12, 14, 28, 14, 28, 26, 12, 26]
    assert [(one["group"], one["level"], one["shape"]) for one in sample["maps"]] == [
        (0, 0, [3, 8, 8]),
        (0, 1, [3, 4, 4]),
    ]


def test_the_values_are_those_that_heat_draws(two_samples, ask):
    viewer = Viewer([two_samples])
    header, values = ask(viewer, "map", sample=0, group=0, level=0, reduce="absmean")
    run = open_run(two_samples)
    array = run.select(level=0, sample="photo")[0].load()[0]
    np.testing.assert_allclose(values, np.abs(array).mean(0), rtol=1e-6)
    assert header["placement"] == {"frame": [40, 60], "cells": [0.0, 0.0, 7.5, 5.0], "crop": None, "flip": ""}
    assert header["inside"] == [0, 5, 0, 8]
    assert (header["place"], header["stride"], header["notes"]) == ("operators", [4.0, 4.0], [])
    _, third = ask(viewer, "map", sample=0, group=0, reduce="channel:2")
    np.testing.assert_array_equal(third, array[2])


def test_what_is_not_proved_is_said(two_samples, ask):
    header, _ = ask(Viewer([two_samples]), "map", sample=1, group=0, level=1)
    assert header["place"] == "assumed"
    assert any("assumed" in note for note in header["notes"])


def test_the_picture_is_that_of_heat(two_samples, ask, tmp_path):
    viewer = Viewer([two_samples])
    png = ask(viewer, "picture", sample=0, group=0, level=1, reduce="mean", boxes=1).body
    main_ok(["heat", str(two_samples), "-o", str(tmp_path / "out"), "-r", "mean", "--boxes", "--sample", "photo"])
    drawn = Image.open(tmp_path / "out" / "neck.fpn" / "photo_level1_overlay.png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(drawn))
    assert Image.open(io.BytesIO(png)).text["layer"] == "neck"


def main_ok(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


@pytest.mark.parametrize("sample", [0, 1])
def test_the_command_draws_the_same_picture(two_samples, ask, tmp_path, sample):
    viewer = Viewer([two_samples])
    look = {"sample": sample, "group": 0, "level": 1, "reduce": "max", "colormap": "viridis", "range": "0:2"}
    words = shlex.split(ask(viewer, "command", **look, alpha=0.7)["command"])
    assert "--alpha" not in words  # it is what the style has
    assert words[0] == "featscope"
    main_ok([*words[1:], "-o", str(tmp_path / "out")])
    files = sorted((tmp_path / "out").rglob("*.png"))
    wanted = files[-1] if sample == 0 else files[0]
    assert len(files) == (2 if sample == 0 else 1)
    png = ask(viewer, "picture", **look).body
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(Image.open(wanted)))


def test_the_image_is_the_file_where_a_browser_shows_it_as_it_was_read(two_samples, ask, tmp_path):
    viewer = Viewer([two_samples])
    answer = ask(viewer, "image", sample=0)
    assert (answer.body, answer.media) == ((tmp_path / "photo.png").read_bytes(), "image/png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(tmp_path / "photo.png").save(tmp_path / "photo.png", exif=turned)
    assert ask(viewer, "image", sample=0).body != (tmp_path / "photo.png").read_bytes()
    (tmp_path / "photo.png").write_text("secret")
    answer = ask(viewer, "image", sample=0)  # what the network saw is shown in its place
    assert b"secret" not in answer.body
    assert Image.open(io.BytesIO(answer.body)).size == (60, 40)
    thumb = Image.open(io.BytesIO(ask(viewer, "thumb", sample=0).body))
    assert max(thumb.size) <= 96
    assert status(viewer, "image", sample=1) == (400, "the run has no image of this sample")


def test_channels_and_their_order(two_samples, ask):
    viewer = Viewer([two_samples])
    array = open_run(two_samples).select(level=0, sample="photo")[0].load()[0]
    header, codes = ask(viewer, "channels", sample=0, group=0, size=8)
    values = (
        np.array(header["lows"])[:, None, None]
        + codes / 253 * np.subtract(header["highs"], header["lows"])[:, None, None]
    )
    np.testing.assert_allclose(values, array, atol=0.03)
    assert ask(viewer, "channels", sample=0, group=0, size=4, first=1, count=1)[0]["shape"] == [1, 4, 4]
    refusal = (400, "there is no channel 7; this map has 3 channels")
    assert status(viewer, "channels", sample=0, group=0, first=7) == refusal
    energy = np.abs(array[:, :5]).mean((1, 2))
    ranks = ask(viewer, "ranks", sample=0, group=0, order="energy")
    assert ranks["channels"] == np.argsort(-energy).tolist()
    np.testing.assert_allclose(ranks["values"], np.sort(energy)[::-1], rtol=1e-6)
    assert sorted(ask(viewer, "ranks", sample=0, group=0, order="contrast")["channels"]) == [0, 1, 2]
    assert status(viewer, "ranks", sample=1, group=0, order="contrast")[0] == 400
    of_ships = ask(viewer, "ranks", sample=0, group=0, order="contrast", labels="0")
    assert of_ships == ask(viewer, "ranks", sample=0, group=0, order="contrast")  # the ground truth has ships only
    assert status(viewer, "ranks", sample=0, group=0, order="contrast", labels="1")[0] == 400
    assert status(viewer, "ranks", sample=0, group=0, order="contrast", labels="ship")[0] == 400


def test_the_best_images_of_a_channel(two_samples, ask):
    viewer = Viewer([two_samples])
    maps = open_run(two_samples).select(level=1)
    peaks = [np.abs(maps[0].load()[0, 1, :3]).max(), np.abs(maps[1].load()[0, 1]).max()]  # the photo fills 3 rows
    best = ask(viewer, "best", group=0, level=1, channel=1)
    assert best["samples"] == np.argsort(-np.array(peaks)).tolist()
    assert (best["looked"], best["total"]) == (2, 2)
    path = two_samples / "neck.fpn" / "batch_1_layer_0.npy"
    path.write_bytes(path.read_bytes()[:100])
    damaged = ask(viewer, "best", group=0, level=0, channel=1)
    assert (damaged["samples"], damaged["looked"]) == ([0], 2)  # it was looked at, so the page stops asking


def test_stored_explanations(two_samples, ask):
    folder = two_samples / "explain" / "photo"
    folder.mkdir(parents=True)
    heat = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    np.save(folder / "box_0_ship_layercam_neck_level_0.npy", heat)
    text = {
        "layer": "neck",
        "level": "0",
        "method": "layercam",
        "box": "box_0 ship 0.9000 20.00 20.00",
        "explains": "score",
    }
    (folder / "box_0_ship_layercam_neck_level_0.png").write_bytes(encode_rgb(np.zeros((4, 4, 3), np.uint8), text))
    viewer = Viewer([two_samples])
    stored = ask(viewer, "sample", sample=0)["explanations"]
    assert [(one["box"], one["method"], one["layer"]) for one in stored] == [(0, "layercam", "neck")]
    header, values = ask(viewer, "explanation", sample=0, key=stored[0]["name"])
    np.testing.assert_array_equal(values, heat)
    assert header["placement"]["cells"] == [0.0, 0.0, 7.5, 5.0]
    assert status(viewer, "explanation", sample=0, key="../../neck.fpn/batch_0_layer_0")[0] == 404


def test_an_answer_that_the_page_has_is_not_made_again(two_samples):
    viewer = Viewer([two_samples])
    for name, query in (("about", {}), ("map", {"sample": "0"}), ("image", {"sample": "0"})):
        first = viewer.answer(name, query)
        again = viewer.answer(name, query, first.tag)
        assert (again.status, again.body, again.tag) == (304, b"", first.tag)
    assert viewer.answer("map", {"sample": "0", "reduce": "mean"}).tag != viewer.answer("map", {"sample": "0"}).tag


def test_wrong_questions_are_answered_in_words(two_samples):
    viewer = Viewer([two_samples])
    assert status(viewer, "secrets") == (
        404,
        "there is no question 'secrets'. To see them all: the page at openapi.json",
    )
    assert status(viewer, "map", sample=7) == (404, "there is no sample number 7; this run has 2")
    assert status(viewer, "map", group=-1)[0] == 400
    assert status(viewer, "map", level=2**70)[0] == 400
    assert status(viewer, "map", group=99)[0] == 404
    assert status(viewer, "map", level=9) == (404, "photo has no map of neck level 9")
    assert status(viewer, "map", sample="first")[0] == 400
    assert status(viewer, "map", path="/etc/passwd")[0] == 400
    assert status(viewer, "map", reduce="channel:99")[0] == 400
    assert status(viewer, "map", reduce="pca")[0] == 400
    assert status(viewer, "picture", range="run")[0] == 400
    assert status(viewer, "picture", alpha=-1.4e261) == (
        400,
        "alpha=-1.4e+261 is out of range; give a number from 0 to 1",
    )
    assert status(viewer, "picture", min_score="nan")[0] == 400
    assert status(viewer, "map", run=1) == (404, "there is no run number 1; the viewer shows 1")


def test_a_damaged_map_is_one_error_and_a_run_that_is_gone_another(two_samples):
    viewer = Viewer([two_samples])
    path = two_samples / "neck.fpn" / "batch_0_layer_0.npy"
    path.write_bytes(path.read_bytes()[:100])
    assert status(viewer, "map", sample=0, group=0, level=0)[0] == 400
    assert viewer.answer("map", {"sample": "0", "level": "1"}).status == 200
    two_samples.rename(two_samples.with_name("moved"))
    code, words = status(viewer, "about")
    assert code == 410
    assert "is gone" in words


def test_a_folder_of_arrays(tmp_path, ask):
    rng = np.random.default_rng(0)
    (tmp_path / "neck.fpn").mkdir()
    for batch in range(2):
        for level in range(2):
            np.save(tmp_path / "neck.fpn" / f"batch_{batch}_layer_{level}.npy", rng.random((2, 3, 8, 8 >> level)))
    np.save(tmp_path / "mine.npy", rng.random((5, 4)))
    (tmp_path / "bad.npy").write_text("text")
    viewer = Viewer([tmp_path])
    names = ask(viewer, "samples")["ids"]
    assert names == ["batch_0 image 0", "batch_0 image 1", "batch_1 image 0", "batch_1 image 1", "mine"]
    about = ask(viewer, "about")["runs"][0]
    assert [group["folder"] for group in about["groups"]] == ["", "neck.fpn"]
    assert any("bad.npy is not a .npy file" in note for note in about["notes"])
    header, values = ask(viewer, "map", sample=3, group=1, level=1, reduce="max")
    stored = np.load(tmp_path / "neck.fpn" / "batch_1_layer_1.npy")
    np.testing.assert_allclose(values, stored[1].max(0), rtol=1e-6)
    assert any("no manifest" in note for note in header["notes"])
    assert ask(viewer, "sample", sample=4)["maps"] == [{"group": 0, "level": 0, "shape": [1, 5, 4], "slices": 0}]


def test_a_run_that_grows_is_seen_growing(tmp_path, ask, monkeypatch):
    monkeypatch.setattr("featscope.viewer.shown_run._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("featscope.viewer.shown_run._SHARE", 0)
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))

    def more(number):
        writer.put_sample(Sample(f"s{number}", batch=number), None)
        array = np.zeros((1, 2, 4, 4), np.float32)
        writer.put(CapturedMap("neck", "FPN", "", 0, 0, number, [f"s{number}"], "neck.fpn"), array)

    more(0)
    viewer = Viewer([tmp_path / "run"])
    first = ask(viewer, "about")["runs"][0]
    assert first["live"]
    more(1)
    writer.close()
    last = ask(viewer, "about")["runs"][0]
    assert (last["samples"], last["live"]) == (2, False)
    assert last["state"] != first["state"]


def test_what_the_page_knows_keeps_its_number_while_a_run_grows(tmp_path, ask, monkeypatch):
    """The page asks by numbers. Layers are listed by name and samples by rank, so new ones may come before old ones."""
    monkeypatch.setattr("featscope.viewer.shown_run._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("featscope.viewer.shown_run._SHARE", 0)
    writers = [RunWriter(tmp_path / "run", RunInfo(model="Toy", ranks=2), rank=rank) for rank in range(2)]

    def more(rank, name, layer):
        writers[rank].put_sample(Sample(name, batch=rank), None)
        array = np.full((1, 2, 4, 4), len(name), np.float32)
        writers[rank].put(CapturedMap(layer, "Toy", "", 0, 0, rank, [name], f"{layer}.toy"), array)
        time.sleep(0.3)  # the writer's thread

    for writer in writers:
        writer.begin()
    more(0, "a", "neck")
    more(1, "bb", "neck")
    viewer = Viewer([tmp_path / "run"])
    assert ask(viewer, "samples")["ids"] == ["a", "bb"]
    more(0, "ccc", "backbone")
    assert ask(viewer, "samples")["ids"] == ["a", "bb", "ccc"]
    assert [group["layer"] for group in ask(viewer, "about")["runs"][0]["groups"]] == ["neck", "backbone"]
    assert ask(viewer, "map", sample=1, group=0, reduce="mean")[1].max() == 2
    for writer in writers:
        writer.close()


def test_a_map_whose_place_was_measured_meanwhile_is_another_answer(two_samples):
    query = {"sample": "0", "level": "0"}
    before = {name: Viewer([two_samples]).answer(name, query).tag for name in ("map", "channels", "ranks", "picture")}
    info = read_info(two_samples)
    place = MeasuredPlace("neck", "", 0, (4.0, 4.0), (0.5, 0.4), (0.01, 0.02), 40, "detections")
    write_places(two_samples, info.started, [place])
    after = {name: Viewer([two_samples]).answer(name, query).tag for name in before}
    assert all(after[name] != before[name] for name in before)


def test_every_question_is_described():
    paths = json.loads(openapi("/x", explains=True))["paths"]
    assert set(paths) == {f"/x/ask/{name}" for name in QUESTIONS}
    assert set(paths) - set(json.loads(openapi("/x"))["paths"]) == {"/x/ask/explain"}
    fields = {one["name"] for one in paths["/x/ask/map"]["get"]["parameters"]}
    assert fields == {"run", "sample", "group", "level", "slice", "reduce"}


def test_explanations_on_demand_are_computed_by_what_the_viewer_was_handed(two_samples, ask):
    asked = []

    def explain(run, sample, box, *, layer, method):
        asked.append((run, sample, box, layer, method))
        if method == "odam":
            raise BadRunError("the weights are gone")

    viewer = Viewer([two_samples], explain=explain)
    assert "layercam" in ask(viewer, "about")["explains"]
    assert ask(viewer, "explain", sample=0, group=0, box=1) == {"explanations": []}
    assert asked == [(two_samples, "photo", 1, "neck", "layercam")]
    assert status(viewer, "explain", method="odam") == (410, "the weights are gone")
    plain = Viewer([two_samples])
    assert ask(plain, "about")["explains"] == []
    assert status(plain, "explain")[1].endswith("featscope view RUN --explain")


def test_the_page_offers_what_there_is():
    assert set(EXPLAINS) <= {name for name, method in METHODS.items() if method.by != "hiding"}
    assert set(REDUCTIONS) - {"auto", "channel"} <= set(reduce.REDUCTIONS)
