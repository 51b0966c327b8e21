"""Sizes by level: those that were found at each, and those that the training assigns to it."""

from dataclasses import replace as replaced

import numpy as np
import pytest
from msgspec.structs import replace

from featscope.analysis.level_sizes import sizes_of_levels
from featscope.analysis.misses import misses
from featscope.analysis.pictures import levels_seen
from featscope.arrays.assigned import BY_SCORES, QUERIES, AssignedSizes, by_anchors, by_area, by_distance
from featscope.cli import main
from featscope.records import Geometry, Source
from featscope.store.reader import open_run
from tests.analysis.runs import bright_map, write_run
from tests.analysis.test_pictures import FOUND, OBJECTS, TRUTH, candidates_of, nothing

FCOS = by_distance([(-1, 16), (16, 32), (32, 1e8)], "regress_ranges of FCOSHead")
SIDE = np.sqrt(800)  # of the only object that is found


@pytest.fixture
def run(tmp_path):
    maps = [("neck", level, 8 << level, {"a": bright_map(OBJECTS, 8 << level)}) for level in range(2)]
    return open_run(write_run(tmp_path / "run", {"a": (TRUTH, FOUND)}, maps))


def given(assigned):
    return lambda sample: replaced(candidates_of(sample), assigned=assigned)


def sizes(run, assigned, level=None, **changes):
    found = misses(run, 0.3, candidates=given(assigned), features=False)
    sources = [] if level is None else [[Source("cell", 7, level=level)], [], []]
    return sizes_of_levels(found, {"a": replace(run.samples["a"], sources=sources, **changes)})


def test_every_level_has_a_row_with_what_was_found_there_and_what_is_assigned(run):
    made = sizes(run, FCOS, level=1)
    assert [(row.name, row.objects, row.assigned, row.words) for row in made.rows] == [
        ("level 0 of the head", 0, (0, 32), "up to 32 px"),
        ("level 1 of the head", 1, (32, 64), "32 to 64 px"),
        ("level 2 of the head", 0, (64, None), "above 64 px"),
        ("missed objects", 3, None, ""),
    ]
    assert made.rows[1][2:5] == pytest.approx((SIDE, SIDE, SIDE))
    assert np.isnan(made.rows[0][2:5]).all()
    assert made.words == (
        "Sizes that training assigns to the level, by regress_ranges of FCOSHead, for a square object around a cell."
    )


def test_pixels_of_the_input_become_pixels_of_the_images(run):
    half = Geometry((256, 256), (128, 128), (128, 128))
    assert [row.assigned for row in sizes(run, FCOS, 1, geometry=half).rows[:3]] == [(0, 64), (64, 128), (128, None)]
    assert "a median scale of 0.5; sizes in its input are divided by it." in sizes(run, FCOS, 1, geometry=half).words
    cropped = Geometry((256, 256), (256, 256), (256, 256), crop=(0, 0, 64, 64))  # enlarged four times
    assert [row.assigned for row in sizes(run, FCOS, 1, geometry=cropped).rows[:2]] == [(0, 8), (8, 16)]
    stretched = Geometry((256, 256), (128, 512), (128, 512))  # the areas stay
    assert sizes(run, FCOS, 1, geometry=stretched) == sizes(run, FCOS, 1)
    assert sizes(run, FCOS, 1, geometry=None) == sizes(run, FCOS, 1)


def test_the_scale_is_the_median_of_all_images(run):
    found = misses(run, 0.3, candidates=given(FCOS), features=False)
    one = run.samples["a"]
    shapes = [(256, 256), (128, 128), (64, 64)]
    others = {str(n): replace(one, id=str(n), geometry=Geometry((256, 256), s, s)) for n, s in enumerate(shapes)}
    assert sizes_of_levels(found, others).rows[0].assigned == (0, 64)


@pytest.mark.parametrize("kind", ["no sources", "regions"])
def test_where_no_level_found_an_object_the_found_ones_are_together(run, kind):
    made = sizes(run, FCOS if kind == "no sources" else by_area(32, 3, "finest_scale of SingleRoIExtractor"))
    whose = "head" if kind == "no sources" else "regions"
    assert [(row.name, row.objects, row.assigned) for row in made.rows] == [
        *((f"level {n} of the {whose}", 0, span) for n, span in enumerate([(0, 32), (32, 64), (64, None)])),
        ("found objects", 1, None),
        ("missed objects", 3, None),
    ]


def test_anchors_alone_are_not_called_what_is_assigned(run):
    made = sizes(run, by_anchors([[(32, 32)], [(64, 64)]], "the anchors of ATSSHead"), level=0)
    assert [row.words for row in made.rows] == ["anchors of 32 px", "anchors of 64 px", ""]
    assert made.words == "Sizes of the anchors of ATSSHead; which objects training gives to them is not known."


@pytest.mark.parametrize(
    ("assigned", "words", "cell"),
    [
        (AssignedSizes(unknown=BY_SCORES), "Training assigns levels by the scores, not by size.", "by the scores, not"),
        (AssignedSizes(unknown=QUERIES), "A query belongs to no level; ", "no level"),
        (AssignedSizes(unknown="it is odd"), "Which sizes training assigns to a level is not known: it is odd.", "unk"),
        (None, "not known: the run was captured before featscope recorded it; capture it again.", "unknown"),
    ],
)
def test_without_sizes_the_reason_is_said(run, assigned, words, cell):
    made = sizes(run, assigned, level=0)
    assert words in made.words
    assert made.rows[0].words.startswith(cell)
    assert made.rows[0].assigned is None
    assert made.rows[0].objects == 1
    assert sizes(run, assigned).rows == []  # neither sources nor sizes


def test_without_candidates_it_says_what_to_capture(run):
    made = sizes_of_levels(misses(run, 0.3, candidates=nothing, features=False), run.samples)
    assert made.words.endswith("not known: no candidates are known; capture the run with --candidates.")


def test_images_with_different_rules_have_none_in_common(tmp_path):
    run = open_run(write_run(tmp_path / "run", {"a": (TRUTH, FOUND), "b": (TRUTH, FOUND)}, []))
    other = by_distance([(-1, 8), (8, 1e8)], "regress_ranges of FCOSHead")
    found = misses(run, 0.3, candidates=lambda one: given(FCOS if one.id == "a" else other)(one))
    assert found.assigned.unknown == "it differs from image to image"
    assert misses(run, 0.3, candidates=given(FCOS)).assigned == FCOS


def test_the_picture_gets_the_same(run):
    found = misses(run, 0.3, candidates=given(FCOS))
    seen = levels_seen(found, run, run.samples)
    assert [one.assigned for one in seen.ranges] == [(0, 32), (32, 64), (64, None), None, None]
    assert seen.assigned == sizes_of_levels(found, run.samples).words


def test_the_command_prints_a_table(tmp_path, capsys):
    run = write_run(tmp_path / "run", {"a": (TRUTH, FOUND)}, [])
    with pytest.raises(SystemExit) as left:
        main(["misses", str(run), "--levels"])
    assert left.value.code == 0
    assert "no candidates are known; capture the run with --candidates" in capsys.readouterr().out


def test_the_table_of_the_command(run, capsys):
    from featscope.cli.miss_tables import tell_sizes

    tell_sizes(sizes(run, FCOS, level=1))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "sizes in pixels objects 10 % median 90 % training assigns"
    assert lines[1:4] == [
        "level 0 of the head 0 up to 32 px",
        "level 1 of the head 1 28 28 28 32 to 64 px",
        "level 2 of the head 0 above 64 px",
    ]
