"""Two runs compared: what was gained and lost, with what certainty, and what was lost where."""

import numpy as np
import pytest

from featscope.analysis.comparing import compare
from featscope.analysis.object_changes import GAINED, LOST, MISSED, mcnemar
from featscope.errors import BadRunError
from featscope.records import RunInfo
from featscope.store.writer import RunWriter
from tests.analysis.runs import boxes, bright_map, write_run

OBJECTS = [(48, 48, 32, 32, 0, 0), (128, 48, 32, 32, 0, 0), (208, 48, 32, 32, 0, 1), (48, 160, 32, 32, 0, 1)]


def nothing(sample):
    return None


def found(*numbers):
    return boxes(*(OBJECTS[number] for number in numbers), scores=[0.9] * len(numbers))


def make(folder, hits, images=8, value=1.0, seed=0, truth=None):
    """A run in which these objects are found, with a neck of this brightness on them."""
    content = {f"i{n}": (truth or boxes(*OBJECTS), found(*hits(n))) for n in range(images)}
    maps = {name: bright_map(OBJECTS, 8, value, seed=seed + n) for n, name in enumerate(content)}
    return write_run(folder, content, [("neck", 0, 8, maps)])


@pytest.fixture
def runs(tmp_path):
    """The second run gains object 1 in six of eight images, and loses object 3 in one."""
    one = make(tmp_path / "a", lambda n: (0, 3), value=1.0)
    two = make(tmp_path / "b", lambda n: (0, *((1,) if n < 6 else ()), *((3,) if n else ())), value=2.0, seed=50)
    return one, two


def test_gained_and_lost(runs):
    result = compare(*runs, 0.5, candidates=(nothing, nothing))
    changes = [(row.sample, row.number, row.change) for row in result.rows]
    assert changes[:3] == [("i0", 1, GAINED), ("i0", 2, MISSED), ("i0", 3, LOST)]
    assert [change for _, _, change in changes].count(GAINED) == 6
    assert [change for _, _, change in changes].count(LOST) == 1
    plane, ship, whole = result.groups
    assert (ship.label, ship.objects, ship.found_a, ship.found_b, ship.gained, ship.lost) == ("ship", 16, 8, 14, 6, 0)
    assert (plane.gained, plane.lost, plane.found_a, plane.found_b) == (0, 1, 8, 7)
    assert (whole.label, whole.gained, whole.lost) == ("all", 6, 1)
    assert 0 < whole.low <= 5 <= whole.high
    assert whole.p == pytest.approx(0.125)
    assert repr(result) == "<Comparison of 32 objects: 16 and 21 found, 6 gained, 1 lost, p = 0.12>"


def test_where_the_other_lost_them(runs):
    result = compare(*runs, 0.5, candidates=(nothing, nothing))
    rows = [(row[0], row[3]) for row in result.by_stage()]
    assert sorted(rows) == [("gained", 6), ("lost", 1)]


def test_energy_and_likeness(runs):
    result = compare(*runs, 0.5, candidates=(nothing, nothing))
    (energy,) = result.energy
    assert (energy.map, energy.size_bin, energy.objects) == ("neck 0", "generally small", 32)
    assert energy.ratio_b > 1.5 * energy.ratio_a
    assert energy.low > 1.4
    (likeness,) = result.likeness
    assert likeness.value > 0.9 > 0.3 > likeness.noise_high
    assert likeness.samples == 32


def test_a_run_with_itself(runs):
    result = compare(runs[0], runs[0], 0.5, candidates=(nothing, nothing))
    whole = result.groups[-1]
    assert (whole.gained, whole.lost, whole.low, whole.high, whole.p) == (0, 0, 0, 0, 1)
    assert result.likeness[0].value == pytest.approx(1)


def test_only_common_samples_count(tmp_path, runs):
    fewer = make(tmp_path / "c", lambda n: (0,), images=3)
    result = compare(runs[0], fewer, 0.5, candidates=(nothing, nothing))
    assert result.groups[-1].objects == 12
    assert "5 samples of A are left out, as the other run lacks them: i3, i4, i5 and 2 more" in result.notes


def test_labels_that_a_capture_left_out_are_said_again(tmp_path, runs):
    note = "labels: 2 boxes of classes that the model lacks: zeppelin (2)"
    content = {f"i{n}": (boxes(*OBJECTS), found(0)) for n in range(8)}
    maps = {name: bright_map(OBJECTS, 8, 1.0) for name in content}
    noted = write_run(tmp_path / "noted", content, [("neck", 0, 8, maps)], truth_notes=[note])
    assert compare(noted, noted, 0.5, candidates=(nothing, nothing)).notes.count(note) == 1
    assert note in compare(runs[0], noted, 0.5, candidates=(nothing, nothing)).notes
    own = {name: truth for name, (truth, _) in content.items()}
    assert note not in compare(noted, noted, 0.5, truth=own, candidates=(nothing, nothing)).notes


def test_what_cannot_be_compared(tmp_path, runs):
    other = make(tmp_path / "d", lambda n: (0,), truth=boxes(*OBJECTS[:2]))
    with pytest.raises(BadRunError, match="different ground truth for 'i0'"):
        compare(runs[0], other)
    writer = RunWriter(tmp_path / "e", RunInfo(model="Toy", classes=["ship", "car"]))
    for sample in ("i0",):
        from featscope.records import Sample

        writer.put_sample(Sample(sample, truth=boxes(*OBJECTS), predictions=found(0)), None)
    writer.close()
    with pytest.raises(BadRunError, match="different classes"):
        compare(runs[0], tmp_path / "e")
    alone = write_run(tmp_path / "f", {"z": (boxes(*OBJECTS), found(0))}, [])
    with pytest.raises(BadRunError, match="no sample in common"):
        compare(runs[0], alone)
    bare = write_run(tmp_path / "g", {"i0": (None, found(0))}, [])
    with pytest.raises(BadRunError, match="--annotations"):
        compare(bare, bare)


def test_one_image_has_no_interval(tmp_path):
    one = make(tmp_path / "a", lambda n: (0, 1), images=1)
    result = compare(one, one, 0.5, candidates=(nothing, nothing))
    assert np.isnan(result.groups[-1].low)
    assert np.isnan(result.energy[0].low)


def test_mcnemar_of_many():
    exact = mcnemar(480, 520)
    assert mcnemar(481, 520) == pytest.approx(exact, rel=0.1)
    assert mcnemar(5000, 4000) < 1e-20


def test_the_order_of_the_images_is_no_matter(tmp_path):
    """As after a capture by several ranks, or with the photos named in another order."""
    one = make(tmp_path / "a", lambda n: (0, 3))
    content = {f"i{n}": (boxes(*OBJECTS), found(0, 3)) for n in reversed(range(8))}
    maps = {f"i{n}": bright_map(OBJECTS, 8, 1.0, seed=n) for n in range(8)}
    turned = write_run(tmp_path / "b", content, [("neck", 0, 8, maps)])
    result = compare(one, turned, 0.5, candidates=(nothing, nothing))
    assert result.likeness[0].value == pytest.approx(1)
    (energy,) = result.energy
    assert (energy.low, energy.high) == pytest.approx((1, 1))
    assert (result.groups[-1].gained, result.groups[-1].lost) == (0, 0)
