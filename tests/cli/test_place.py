"""`featscope place` as a user types it, on the built-in detector."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from featscope.cli import main
from featscope.demo.scenes import draw_scene
from featscope.records import MeasuredPlace
from featscope.render.png import read_text
from featscope.store.places import PLACES, write_places
from featscope.store.reader import open_run

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A run of the neck and the heads on two scenes."""
    folder = tmp_path_factory.mktemp("place")
    for number in (3, 5):
        Image.fromarray(draw_scene(number).image).save(folder / f"scene{number}.png")
    with pytest.raises(SystemExit) as left:
        main(["capture", "demo", "-i", str(folder), "-o", str(folder / "run"), "-l", "neck", "-l", "bbox_head_refine"])
    assert left.value.code == 0
    return folder / "run"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_is_measured_and_nothing_of_it_is_changed(taken, featscope):
    before = contents(taken)
    code, out, err = featscope("place", taken, "--most", 1, "--cells", 8)
    assert code == 0, err
    (taken / PLACES).replace(taken.parent / "kept.json")
    assert contents(taken) == before
    found = json.loads((taken.parent / "kept.json").read_text())["places"]
    by = {(place["layer"], place.get("by")) for place in found}
    assert ("neck", "gradient") in by
    assert ("bbox_head_refine.0", "detections") in by
    assert ("neck", "detections") not in by
    assert len(out.splitlines()) == 1 + 15 + 1
    assert f"of 15 places measured and kept, in {taken / PLACES}" in out
    for place in found:
        assert place["count"] >= 1
        assert (max(place["interval"]) > 0.15) <= bool(place.get("refused"))


def test_only_some_layers_and_what_was_known_of_others_stays(taken, featscope):
    started = open_run(taken).info.started
    known = MeasuredPlace("neck", "", 0, (8.0, 8.0), (0.5, 0.5), (0.1, 0.1), 9, "gradient")
    write_places(taken, started, [known])
    code, out, _ = featscope("place", taken, "-l", "bbox_head_refine.*", "--most", 1, "--cells", 1)
    assert code == 0
    assert "neck" not in out.split("places measured")[0]
    places = open_run(taken).places
    assert places["neck", "", 0] == known
    assert len(places) == 11
    code, _, err = featscope("place", taken, "-l", "nekc")
    assert code == 1
    assert "'neck'" in err
    (taken / PLACES).unlink()


def test_an_explanation_lies_where_its_layer_looks(taken, featscope, tmp_path):
    def peak(name):
        code, _, err = featscope(
            "explain", taken, "--sample", "scene3", "--top", 1, "-o", tmp_path / name, "-l", "neck"
        )
        assert code == 0, err
        (picture,) = (tmp_path / name).rglob("*.png")
        drawn = np.asarray(Image.open(picture).convert("RGB")).astype(float)
        changed = np.abs(drawn - draw_scene(3).image).sum(2)
        rows = np.indices(changed.shape)[0]
        assert read_text(picture)["place"] == name
        return (rows * changed).sum() / changed.sum(), int(picture.name[-5])

    before = peak("operators")
    stride = 8.0 * 2 ** before[1]
    far = MeasuredPlace("neck", "", before[1], (stride, stride), (3.0, 0.0), (0.1, 0.1), 9, "gradient")
    write_places(taken, open_run(taken).info.started, [far])
    after = peak("measured")
    (taken / PLACES).unlink()
    assert after[0] - before[0] > 0.5 * stride


@pytest.mark.slow
def test_a_killed_measuring_leaves_the_run_as_it_was(taken):
    before = contents(taken)
    code = (
        "import os, sys; from featscope.cli import main; from featscope.measuring.gradients import Seen\n"
        "Seen.places = lambda seen: os.kill(os.getpid(), 9)\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "place", str(taken), "-l", "neck", "--most", "1", "--cells", "1"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert contents(taken) == before


def test_images_that_are_gone_are_asked_for_and_heads_are_measured_all_the_same(taken, featscope):
    images = [taken.parent / "scene3.png", taken.parent / "scene5.png"]
    for image in images:
        image.rename(image.with_suffix(".moved"))
    try:
        code, out, err = featscope("place", taken)
    finally:
        for image in images:
            image.with_suffix(".moved").rename(image)
    assert code == 0
    assert "are gone; name others" in err
    assert all(place.by == "detections" for place in open_run(taken).places.values())
    (taken / PLACES).unlink()
    assert "not measured" in out


def test_a_folder_made_by_hand_has_no_model(tmp_path, featscope):
    np.save(tmp_path / "map.npy", np.zeros((3, 4, 4)))
    code, _, err = featscope("place", tmp_path)
    assert code == 1
    assert "has no manifest" in err
