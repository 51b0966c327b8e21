"""Two runs are lined up by what their maps are of, not by how their folders are called."""

import numpy as np
import pytest

import featscope
from featscope.errors import BadRunError, UnknownNameError
from featscope.records import CapturedMap, RunInfo, Sample
from featscope.store.matching import match_runs
from featscope.store.writer import RunWriter


def make(folder, cls="FPN", names=("a", "b", "c"), batch=1, layers=("neck", "head"), size=8, levels=2, value=0.0):
    """A run of batches: a neck of a class, and a head with two fields."""
    writer = RunWriter(folder, RunInfo(model="Toy"))
    for number, start in enumerate(range(0, len(names), batch)):
        here = list(names[start : start + batch])
        for name in here:
            writer.put_sample(Sample(name, batch=number), None)
        for layer in layers:
            for field in ("",) if layer == "neck" else ("scores", "boxes"):
                for level in range(levels):
                    folder_name = f"{layer}.{cls.lower()}" if layer == "neck" else f"{layer}.toy.{field}"
                    cells = max(1, size >> level)
                    array = np.stack([np.full((2, cells, cells), value + ord(name[0]), np.float32) for name in here])
                    captured = CapturedMap(layer, cls, field, level, 0, number, here, folder_name)
                    writer.put(captured, array)
    writer.close()
    return folder


@pytest.fixture
def two(tmp_path):
    return make(tmp_path / "one"), make(tmp_path / "two", "NewNeck", value=1.0)


def test_a_layer_of_another_class_lines_up(two):
    match = match_runs(*two)
    rows = {(row.layer, row.field, row.level): row for row in match.rows}
    assert list(rows) == [(x, y, i) for x, y in (("neck", ""), ("head", "scores"), ("head", "boxes")) for i in (0, 1)]
    neck = rows["neck", "", 1]
    assert (neck.folder, neck.other_folder, neck.shape, neck.other_shape) == (
        "neck.fpn",
        "neck.newneck",
        "2 x 4 x 4",
        "2 x 4 x 4",
    )
    assert (neck.both, neck.only_first, neck.only_second, neck.reshaped) == (3, 0, 0, 0)
    assert (match.samples, match.only_first, match.only_second, match.by) == (["a", "b", "c"], [], [], "records")
    assert match.differences == []


def test_pairs_are_of_the_same_sample_whatever_the_batches(tmp_path):
    one = make(tmp_path / "one", names=("a", "b", "c"), batch=2)
    two = make(tmp_path / "two", "NewNeck", names=("c", "x", "b", "a"), batch=3, value=1.0)
    match = featscope.match_runs(featscope.open_run(one), two)
    pairs = list(match.pairs())
    assert len(pairs) == 3 * 2 * 3
    assert {pair.sample for pair in pairs} == {"a", "b", "c"}
    for pair in pairs:
        assert (pair.first.array == ord(pair.sample)).all()
        assert (pair.second.array == ord(pair.sample) + 1).all()
        for side in (pair.first, pair.second):
            record = side.file.record
            assert (record.layer, record.field, record.level) == (pair.layer, pair.field, pair.level)
    assert match.only_second == ["x"]
    assert match.differences == [f"only {two} has 1 sample that {one} lacks: x"]


def test_what_only_one_has_and_what_has_another_shape(tmp_path):
    one = make(tmp_path / "one", layers=("neck", "head"))
    two = make(tmp_path / "two", layers=("neck",), size=16, levels=3)
    match = match_runs(one, two)
    assert match.differences == [
        f"neck level 0 has two shapes for 3 samples: 2 x 8 x 8 in {one}, 2 x 16 x 16 in {two}",
        f"neck level 1 has two shapes for 3 samples: 2 x 4 x 4 in {one}, 2 x 8 x 8 in {two}",
        *(f"only {one} has head {field}, levels 0, 1, in head.toy.{field}" for field in ("scores", "boxes")),
        f"only {two} has neck, level 2, in neck.fpn",
    ]
    assert {pair.layer for pair in match.pairs()} == {"neck"}


def test_shapes_are_compared_of_the_samples_that_are_in_both(tmp_path):
    """A sample that only one run has may well be of another size."""
    writer = RunWriter(tmp_path / "one", RunInfo())
    for number, (name, side) in enumerate((("a", 4), ("b", 6))):
        writer.put_sample(Sample(name, batch=number), None)
        writer.put(CapturedMap("neck", "FPN", "", 0, 0, number, [name], "neck.fpn"), np.zeros((1, 2, side, side)))
    writer.close()
    two = make(tmp_path / "two", names=("a",), layers=("neck",), size=4, levels=1)
    match = match_runs(tmp_path / "one", two)
    assert match.rows[0].shape == "2 x 4 x 4, 2 x 6 x 6"
    assert match.rows[0].reshaped == 0
    assert match.differences == [f"only {tmp_path / 'one'} has 1 sample that {two} lacks: b"]


def test_a_map_that_is_missing_in_one_is_named(tmp_path):
    writer = RunWriter(tmp_path / "one", RunInfo())
    for number, name in enumerate("ab"):
        writer.put_sample(Sample(name, batch=number), None)
        if name == "a":
            writer.put(CapturedMap("neck", "FPN", "", 0, 0, number, [name], "neck.fpn"), np.zeros((1, 2, 4, 4)))
    writer.close()
    match = match_runs(tmp_path / "one", make(tmp_path / "two", names="ab", layers=("neck",), size=4, levels=1))
    assert match.rows[0].only_second == 1
    assert match.differences == ["neck level 0 is missing in one of the runs for 1 sample"]


def test_names_with_signs_of_a_glob_are_names(tmp_path):
    names = ("P[1]", "P1", "a*")
    match = match_runs(make(tmp_path / "one", names=names), make(tmp_path / "two", "NewNeck", names=names))
    pairs = list(match.pairs())
    assert len(pairs) == 3 * 6
    for pair in pairs:
        assert pair.first.file.samples[0].id == pair.second.file.samples[0].id == pair.sample


def test_regions_are_no_pairs(tmp_path):
    for name in ("one", "two"):
        writer = RunWriter(tmp_path / name, RunInfo())
        writer.put_sample(Sample("a"), None)
        writer.put(CapturedMap("roi", "RoI", "", 0, 0, 0, ["a"], "roi.roi"), np.zeros((7, 2, 4, 4)))
        writer.close()
    match = match_runs(tmp_path / "one", tmp_path / "two")
    assert match.rows[0].both == 1
    assert list(match.pairs()) == []


@pytest.mark.parametrize(
    ("options", "rows", "samples"),
    [
        ({"layers": "neck"}, 2, 3),
        ({"layers": ["head", "!neck"], "level": 1}, 2, 3),
        ({"sample": "[ab]"}, 6, 2),
        ({"sample": "c", "level": 0, "layers": ["neck"]}, 1, 1),
    ],
)
def test_a_part_of_both(two, options, rows, samples):
    match = match_runs(*two, **options)
    assert (len(match.rows), len(match.samples)) == (rows, samples)
    assert all(row.both == samples for row in match.rows)
    assert len(list(match.pairs())) == rows * samples
    assert match.differences == []


def test_a_layer_that_neither_has(two):
    with pytest.raises(UnknownNameError, match="did you mean 'neck'"):
        match_runs(*two, layers="nek")


@pytest.fixture
def bare(tmp_path):
    """Folders of arrays, made by hand."""

    def write(name, *folders, count=2):
        for folder in folders:
            (tmp_path / name / folder).mkdir(parents=True)
            for batch in range(count):
                np.save(tmp_path / name / folder / f"batch_{batch}_layer_0.npy", np.full((1, 2, 4, 4), batch))
        return tmp_path / name

    return write


def test_folders_without_a_manifest_are_matched_by_name_and_that_is_said(bare):
    match = match_runs(bare("one", "neck.fpn", "stem"), bare("two", "neck.newneck", "stem", count=3))
    assert match.by == "names"
    assert [(row.layer, row.folder, row.other_folder, row.both) for row in match.rows] == [
        ("neck", "neck.fpn", "neck.newneck", 2),
        ("stem", "stem", "stem", 2),
    ]
    assert match.only_second == ["batch_2"]
    assert "which proves nothing" in repr(match)
    pairs = list(match.pairs())
    assert len(pairs) == 4
    assert all((pair.first.array == pair.second.array).all() for pair in pairs)


def test_folders_that_could_be_two_layers_are_not_paired(bare):
    match = match_runs(bare("one", "head.cls"), bare("two", "head.box", "head.angle"))
    assert [row.both for row in match.rows] == [0, 0, 0]
    assert len(match.differences) == 3


def test_a_run_and_a_folder_are_matched_by_name(two, bare):
    match = match_runs(two[0], bare("bare", "neck.fpn"))
    assert match.by == "names"
    (row,) = (row for row in match.rows if row.both)
    assert (row.layer, row.level, row.both, row.only_first) == ("neck.fpn", 0, 2, 1)
    assert [pair.sample for pair in match.pairs()] == ["batch_0", "batch_1"]
    with pytest.raises(BadRunError, match="no manifest"):
        match_runs(two[0], bare("other", "neck.fpn"), layers="neck")


def test_it_shows_itself(two):
    match = match_runs(*two)
    assert repr(match) == f"<Match: {two[0]} and {two[1]} share 6 of 6 levels and 3 samples; 0 differences>"
    assert "neck.newneck" in match._repr_html_()


def test_list_says_what_lines_up(two, featscope):
    code, out, err = featscope("list", *two)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[:2] == [["1:", str(two[0])], ["2:", str(two[1])]]
    assert ["neck", "0", "neck.fpn", "neck.newneck", "2", "x", "8", "x", "8", "the", "same", "3", "0", "0"] in lines
    assert [
        "head",
        "scores",
        "1",
        "head.toy.scores",
        "head.toy.scores",
        "2",
        "x",
        "4",
        "x",
        "4",
        "the",
        "same",
        "3",
        "0",
        "0",
    ] in lines
    assert out.splitlines()[-1] == f"{two[0]} and {two[1]} share 6 of 6 levels and 3 samples"
    code, out, _ = featscope("list", *two, "-l", "neck", "--level", "1", "--sample", "a")
    assert code == 0
    assert "share 1 of 1 level and 1 sample" in out
    assert "head" not in out


def test_list_says_what_does_not(tmp_path, featscope):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", layers=("neck",), names="ab")
    code, out, _ = featscope("list", one, two)
    assert code == 0
    assert f"only {one} has 1 sample that {two} lacks: c" in out
    assert f"only {one} has head scores, levels 0, 1, in head.toy.scores" in out


def test_check_reads_both_and_says_what_does_not_line_up(two, tmp_path, featscope):
    code, out, err = featscope("check", *two)
    assert (code, err) == (0, "")
    assert [line.endswith("whole") for line in out.splitlines()] == [True, True, False]
    three = make(tmp_path / "three", layers=("neck",))
    code, out, err = featscope("check", two[0], three)
    assert code == 1
    assert "has head boxes, levels 0, 1" in err
    (two[1] / "neck.newneck" / "batch_0_layer_0.npy").unlink()
    code, _, err = featscope("check", *two)
    assert code == 1
    assert "batch_0_layer_0.npy cannot be read" in err


def test_two_layers_in_one_folder_stay_two(tmp_path):
    """Nobody makes one with featscope, but a manifest may say so."""
    for name in ("one", "two"):
        writer = RunWriter(tmp_path / name, RunInfo())
        for number, (sample, layer) in enumerate((("a", "x"), ("b", "y"))):
            writer.put_sample(Sample(sample, batch=number), None)
            writer.put(CapturedMap(layer, "X", "", 0, 0, number, [sample], "shared"), np.zeros((1, 2, 4, 4)))
        writer.close()
    match = match_runs(tmp_path / "one", tmp_path / "two")
    assert [(pair.layer, pair.sample) for pair in match.pairs()] == [("x", "a"), ("y", "b")]
