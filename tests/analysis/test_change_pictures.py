"""Pictures of objects that one of two runs gained or lost: which are drawn, with which boxes, maps and words."""

import numpy as np
import pytest
from PIL import Image

from featscope.analysis.change_pictures import _ChangeScenes, draw_changes
from featscope.analysis.comparing import compare
from featscope.analysis.object_changes import GAINED, LOST
from featscope.cli import main
from featscope.render.outlines import CANDIDATE, FOUND, SUPPRESSOR
from featscope.store.reader import open_run
from tests.analysis.runs import boxes, bright_map, write_run
from tests.analysis.test_pictures import OBJECTS, TRUTH, candidates_of, nothing

IMAGES = ("a", "b", "c")
SURE = (0.9, 0.6, 0.8)


def write(folder, hits, value=1.0, seed=0):
    """A run that finds these objects, with a score for each image. The backbone is always the same."""
    content = {
        name: (TRUTH, boxes(*(OBJECTS[n] for n in hits), scores=[SURE[place]] * len(hits)))
        for place, name in enumerate(IMAGES)
    }
    layers = [
        ("backbone", 0, 4, {name: bright_map(OBJECTS, 4, seed=n, channels=8) for n, name in enumerate(IMAGES)}),
        ("neck", 0, 8, {name: bright_map(OBJECTS, 8, value, seed=seed + n) for n, name in enumerate(IMAGES)}),
    ]
    return open_run(write_run(folder, content, layers))


@pytest.fixture
def runs(tmp_path):
    """The second run gains the second object, and loses the fourth."""
    return write(tmp_path / "one", (0, 3)), write(tmp_path / "two", (0, 1), value=3.0, seed=10)


def scenes_of(runs, candidates=candidates_of, layers=()):
    give = (candidates, candidates)
    comparison = compare(*runs, 0.3, candidates=give)
    scenes = _ChangeScenes(comparison, runs, give, None, layers)
    rows = [row for change in (GAINED, LOST) for row in scenes.surest(change)]
    scenes.read(rows)
    return {(row.change, row.sample): scenes.scene(row, place) for place, row in enumerate(rows, 1)}, rows


def test_the_surest_detections_come_first(runs):
    rows = scenes_of(runs)[1]
    assert [(row.change, row.sample) for row in rows[:3]] == [(GAINED, name) for name in ("a", "c", "b")]
    assert [row.number for row in rows] == [1, 1, 1, 3, 3, 3]


def test_both_sides_are_told(runs):
    scenes, _ = scenes_of(runs)
    gained, lost = scenes[GAINED, "a"], scenes[LOST, "b"]
    assert gained.title == (
        "Gained: B finds this ship (0.90). In A, its candidate (0.65) was suppressed by a worse box on the same object "
        "(0.70)"
    )
    assert lost.title.startswith("Lost: A finds this plane (0.60). In B, its best candidate scores")
    pens = [one.pen for one in gained.near]
    assert pens == [FOUND, SUPPRESSOR, CANDIDATE]
    assert gained.near[0].words == "B finds it: ship 0.90, IoU 1.00"
    np.testing.assert_allclose(gained.near[0].corners.mean(0), OBJECTS[1][:2], atol=1e-6)
    assert gained.near[1].words.startswith("A: suppressed it")


def test_a_sure_detection_of_another_class_did_not_find_the_object(runs, tmp_path):
    plane = (*OBJECTS[1][:5], 1)
    found = boxes(OBJECTS[0], plane, OBJECTS[1], scores=[0.9, 0.99, 0.6])
    other = open_run(write_run(tmp_path / "other", dict.fromkeys(IMAGES, (TRUTH, found)), []))
    scenes, _ = scenes_of((runs[0], other))
    assert scenes[GAINED, "a"].near[0].words == "B finds it: ship 0.60, IoU 1.00"


def test_maps_of_both_and_their_difference(runs):
    scenes, _ = scenes_of(runs)
    layers = scenes[GAINED, "a"].layers
    assert [layer.name for layer in layers] == [
        "A and B: backbone, the same in both",
        "A: neck",
        "B: neck",
        "B minus A: neck, each map scaled to its own values",
    ]
    assert layers[3].scale == (-1.0, 1.0)
    assert layers[3].maps[0].words.endswith(" on the object")
    assert [layer.name for layer in scenes_of(runs, layers=("neck",))[0][LOST, "a"].layers][0] == "A: neck"


def test_one_scale_for_both_where_it_is_proved(tmp_path):
    random = np.random.default_rng(0)
    strengths = {name: random.normal(size=(len(OBJECTS), 8)).astype(np.float32) for name in IMAGES}

    def made(folder, hits, value):
        maps = {}
        for name in IMAGES:
            whole = np.zeros((8, 32, 32), np.float32)
            for number, one in enumerate(OBJECTS):
                inside = bright_map([(*one[:5], 0)], 8, 1.0, channels=1)[0] > 0.5
                whole += strengths[name][number][:, None, None] * inside
            maps[name] = value * whole
        found = boxes(*(OBJECTS[n] for n in hits), scores=[0.9] * len(hits))
        return open_run(write_run(folder, dict.fromkeys(IMAGES, (TRUTH, found)), [("neck", 0, 8, maps)]))

    runs = made(tmp_path / "a", (0,), 1.0), made(tmp_path / "b", (0, 1), 2.0)
    a, b, difference = scenes_of(runs)[0][GAINED, "a"].layers
    assert difference.name == "B minus A: neck, on one scale"
    assert a.scale == b.scale
    assert difference.scale[0] == -difference.scale[1]
    expected = np.abs(strengths["a"][1]).mean()
    assert float(difference.maps[0].words.split()[0]) == pytest.approx(expected, rel=0.2)
    np.testing.assert_allclose(difference.maps[0].values, b.maps[0].values - a.maps[0].values)


def test_without_candidates_the_rest_is_told(runs):
    scenes, _ = scenes_of(runs, nothing)
    assert "where the head lost it is unknown" in scenes[GAINED, "a"].title
    assert [one.pen for one in scenes[GAINED, "a"].near] == [FOUND]


def test_files(runs, tmp_path):
    comparison = compare(*runs, 0.3, candidates=(candidates_of, candidates_of))
    drawn = draw_changes(comparison, *runs, tmp_path / "drawn", 2, candidates=(candidates_of, candidates_of))
    assert [path.name for path in drawn.strips] == [
        *("gained_1_a_1.png", "gained_2_c_1.png"),
        *("lost_1_a_3.png", "lost_2_c_3.png"),
    ]
    picture = Image.open(drawn.strips[0])
    assert picture.text["object"] == "1"
    assert picture.text["runs"] == "one two"
    same = compare(runs[0], runs[0], 0.3, candidates=(nothing, nothing))
    assert draw_changes(same, runs[0], runs[0], tmp_path / "none").remarks == ["no object was gained or lost"]
    assert not (tmp_path / "none").exists()


def test_the_command(runs, tmp_path, capsys):
    folders = [str(run.folder) for run in runs]
    with pytest.raises(SystemExit, match="0"):
        main(["compare", *folders, "--score", "0.3", "--pictures", str(tmp_path / "p"), "--each", "1", "--maps",
          str(tmp_path / "m")])  # fmt: skip
    out = " ".join(capsys.readouterr().out.split())
    assert "6 differences of maps, 3 on one scale" in out
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["gained_1_a_1.png", "lost_1_a_3.png"]
    assert len(list((tmp_path / "m").rglob("*.png"))) == 6
