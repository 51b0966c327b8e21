"""Pictures of misses: which are drawn, with which boxes and words, and what is said where something is missing."""

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from featscope.analysis import stages
from featscope.analysis.miss_scenes import SceneMaker
from featscope.analysis.misses import misses
from featscope.analysis.pictures import draw_misses, levels_seen, worst_misses
from featscope.analysis.scene_maps import SceneMaps
from featscope.arrays.boxes import corners_of
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.cli import main
from featscope.errors import BadRunError
from featscope.records import Selection, Source
from featscope.render.outlines import CANDIDATE, OTHER, SUPPRESSOR
from featscope.store.reader import open_run
from tests.analysis.runs import boxes, bright_map, write_run

HOW = Selection(threshold=0.05, suppression="rotated", overlap=0.3)
OBJECTS = [(60, 60, 40, 20, 0, 0), (160, 60, 40, 20, 0, 0), (60, 160, 40, 20, 0, 1), (180, 180, 60, 40, 0, 1)]
TRUTH = boxes(*OBJECTS)
FOUND = boxes((61, 60, 40, 20, 0, 0), (168, 66, 40, 20, 0, 0), (60, 160, 40, 20, 0, 0), scores=[0.9, 0.7, 0.6])
BOXES = np.array(
    [[61, 60, 40, 20, 0], [158, 60, 40, 20, 0], [168, 66, 40, 20, 0], [60, 160, 40, 20, 0], [182, 180, 60, 40, 0]],
    float,
)
SCORES = np.array([[0.9, 0], [0.65, 0], [0.7, 0], [0.6, 0.1], [0.01, 0.2]], np.float32)


def candidates_of(sample):
    """The second object has a good box that a worse one suppresses, the third another class, the last a low score."""
    return ImageCandidates((LevelCandidates(SCORES, BOXES, "cell", (1, 5, 1)),), "cxcywha", HOW)


def nothing(sample):
    return None


@pytest.fixture
def run(tmp_path):
    maps = [
        (layer, level, stride, {"a": factor * bright_map(OBJECTS, stride)})
        for layer, level, stride, factor in (("backbone", 0, 4, 1), ("neck", 0, 8, 1), ("neck", 1, 16, 5))
    ]
    return open_run(write_run(tmp_path / "run", {"a": (TRUTH, FOUND)}, maps))


def scenes(run, candidates=candidates_of, layers=()):
    found = misses(run, 0.3, candidates=candidates)
    rows = worst_misses(found, 9)
    maps = SceneMaps(run, layers)
    maps.read(row.sample for row in rows)
    maker = SceneMaker(run, found, run.samples, candidates, maps)
    return {row.number: maker.scene(row, "one of three") for row in rows}


def test_those_that_came_nearest_come_first_and_unknown_ones_by_size(run):
    known, unknown = (misses(run, 0.3, candidates=give) for give in (candidates_of, nothing))
    assert [row.number for row in worst_misses(known, 9)] == [1, 3, 2]  # scores 0.65, 0.2, 0.1
    assert [row.number for row in worst_misses(known, 2)] == [1, 3]
    assert [row.number for row in worst_misses(unknown, 9)][0] == 3


def test_the_boxes_are_those_of_the_candidate_that_decided_and_of_its_suppressor(run):
    made = scenes(run)
    suppressor, candidate = made[1].near
    assert (suppressor.pen, candidate.pen) == (SUPPRESSOR, CANDIDATE)
    assert candidate.corners == pytest.approx(corners_of("cxcywha", BOXES[1:2])[0])
    assert suppressor.corners == pytest.approx(corners_of("cxcywha", BOXES[2:3])[0])
    assert candidate.words == "the candidate that came nearest, of level 0: ship 0.65, IoU 0.90"
    assert suppressor.words.startswith(f"suppressed it: {stages.WORSE_BOX}, ship 0.70, IoU 0.")
    (other,) = made[2].near  # its candidate decided by the score of another class
    assert other.words.startswith("the candidate that came nearest, of level 0: ship 0.60")
    assert [one.pen for one in made[1].others] == [OTHER] * 3
    assert made[1].box.corners == pytest.approx(corners_of("cxcywha", TRUTH.boxes)[1])


def test_the_title_says_what_happened(run):
    made = scenes(run)
    assert made[1].title.startswith(
        "Missed ship: its candidate (0.65) was suppressed by a worse box on the same object (0.70); "
    )
    assert made[2].title.startswith("Missed plane: its candidate was taken for ship; ")
    assert "scores" in made[3].title
    assert "0.20" in made[3].title


def test_all_levels_of_the_features_are_there_on_one_scale_for_each_layer(run):
    backbone, neck = scenes(run)[1].layers
    assert (backbone.name, [one.title for one in backbone.maps]) == ("backbone", ["level 0 \u00b7 stride 4"])
    assert [one.title for one in neck.maps] == ["level 0 \u00b7 stride 8", "level 1 \u00b7 stride 16"]
    low, high = (np.percentile(one.values, [50, 99]) for one in neck.maps)
    assert neck.scale == pytest.approx((low[0], high[1]), rel=0.02)
    assert neck.scale[1] > 3 * backbone.scale[1]
    assert [one.words.split("\n")[1] for one in neck.maps] == ["12.5 cells", "3.12 cells"]
    assert [one.name for one in scenes(run, layers=["neck"])[1].layers] == ["neck"]


def test_what_is_missing_is_said(run, tmp_path):
    gone = "the image is gone"
    unknown = "no candidates are known; capture the run with --candidates"
    assert scenes(run)[1].remarks == [gone]
    assert scenes(run, nothing)[1].remarks == [gone, unknown]
    bare = open_run(write_run(tmp_path / "bare", {"a": (TRUTH, FOUND)}, []))
    assert scenes(bare)[1].remarks == [gone, "the run stores no maps of features"]
    assert scenes(bare)[1].layers == []


def test_rows_of_the_levels_are_those_of_the_findings(run):
    found = misses(run, 0.3, candidates=candidates_of)
    seen = levels_seen(found, run, run.samples)
    assert seen.rows == [
        ("generally small, 20 to 32 px", "found (1)"),
        ("generally small, 20 to 32 px", "missed (2)"),
        ("normal, above 32 px", "missed (1)"),
    ]
    assert seen.columns == [("backbone", "0"), ("neck", "0"), ("neck", "1")]
    for row, cells in zip(seen.rows, seen.cells):
        for column, cell in zip(seen.columns, cells):
            (one,) = [
                some
                for some in found.findings.seen
                if (some.size_bin, some.layer, str(some.level)) == (row[0].split(",")[0], *column)
                and row[1].startswith(some.state)
            ]
            assert tuple(cell) == (one.resolved, one.known, one.present)
    assert list(seen.ranges) == []  # the detections have no sources


def test_sizes_are_those_of_the_objects_that_were_found_at_a_level(run):
    found = misses(run, 0.3, candidates=candidates_of)
    sources = [[Source("cell", 7, level=2)], [], []]
    level, missed = levels_seen(found, run, {"a": replace(run.samples["a"], sources=sources)}).ranges
    side = np.sqrt(800)
    assert tuple(level) == ("level 2 of the head", *[pytest.approx(side)] * 3, 1, None)
    sizes = [side, side, np.sqrt(2400)]
    assert missed[1:5] == (*(pytest.approx(np.quantile(sizes, one)) for one in (0.1, 0.5, 0.9)), 3)


def test_files(run, tmp_path):
    found = misses(run, 0.3, candidates=candidates_of)
    drawn = draw_misses(found, run, tmp_path / "out", 2, candidates=candidates_of)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "levels_seen.png",
        "levels_seen.svg",
        "miss_1_a_1.png",
        "miss_2_a_3.png",
    ]
    assert [path.name for path in drawn.strips] == ["miss_1_a_1.png", "miss_2_a_3.png"]
    text = Image.open(drawn.strips[0]).text
    assert (text["run"], text["sample"], text["object"], text["stage"]) == ("run", "a", "1", stages.SUPPRESSED)
    assert drawn.remarks == ["/photos/a.png is gone; there is no image to draw over"]
    bare = open_run(write_run(tmp_path / "bare", {"a": (TRUTH, FOUND)}, []))
    without = draw_misses(misses(bare, 0.3, candidates=nothing), bare, tmp_path / "two", 1, candidates=nothing)
    assert without.levels is None
    assert "no maps of features" in without.remarks[0]


def test_the_command_draws_them(run, tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["misses", str(run.folder), "--pictures", str(tmp_path / "out"), "--worst", "1"])
    assert left.value.code == 0
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".png", ".svg"}
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_the_truth_that_the_misses_were_found_with_is_needed(run, tmp_path):
    bare = open_run(write_run(tmp_path / "bare", {"a": (None, FOUND)}, []))
    truth = {"a": TRUTH}
    found = misses(bare, 0.3, candidates=nothing, truth=truth)
    with pytest.raises(BadRunError, match="a has no ground truth; give the same truth"):
        draw_misses(found, bare, tmp_path / "out", 1, candidates=nothing)
    assert len(draw_misses(found, bare, tmp_path / "out", 1, candidates=nothing, truth=truth).strips) == 1
