"""What the features hold of missed objects: made maps in which it is known where an object ends."""

import numpy as np
import pytest

from featscope.analysis import evidence
from featscope.analysis.evidence import find_evidence
from featscope.analysis.objects import walk_objects
from tests.analysis.runs import SIZE, boxes, bright_map, write_run

IMAGES = 12


def place_objects(image):
    """Six objects of two classes an image, on a grid with some play; the last of them is missed."""
    random = np.random.default_rng(image)
    objects = []
    for number in range(6):
        x, y = 48 + 80 * (number % 3), 64 + 112 * (number // 3)
        size = 24 if number % 2 else 32
        x, y = (one + int(random.integers(-8, 8)) for one in (x, y))
        objects.append((x, y, size, size, 0.0, number % 2))
    return objects


def run_of(tmp_path, lost=None, images=IMAGES, small=False, blank=()):
    """A run in whose layers the missed object of each image is bright, but for the layers in `lost`."""
    truth, layers = {}, []
    objects = {f"i{n}": place_objects(n) for n in range(images)}
    if small:
        objects = {name: [*some[:-1], (*some[-1][:2], 5, 5, 0.0, 1)] for name, some in objects.items()}
    for name, some in objects.items():
        truth[name] = (boxes(*some), None)
    for layer in ("backbone", "neck"):
        for level in (0, 1):
            maps = {}
            for number, (name, some) in enumerate(objects.items()):
                shown = some[:-1] if layer in (lost or ()) else some
                array = bright_map(shown, 8 << level, 1.0, channels=6, seed=number * 7 + level)
                maps[name] = array * 0 if (layer, level) in blank else array
            layers.append((layer, level, 8 << level, maps))
    run = write_run(tmp_path / "run", truth, layers)
    found = {(name, n): n != 5 for name in objects for n in range(6)}
    return find_evidence(walk_objects(run, background=True), found)


def verdicts(findings):
    return set(findings.verdicts.values())


def test_an_object_that_all_layers_have(tmp_path):
    found = run_of(tmp_path)
    assert verdicts(found) == {evidence.LOST_BY_HEAD}
    assert len(found.verdicts) == IMAGES
    quality = found.levels[0]
    assert (quality.layer, quality.level, quality.objects, quality.reliable) == ("backbone", 0, 6 * IMAGES, True)
    assert quality.likeness.low > 0.9
    assert (quality.probe.first, quality.probe.second > 40) == (5 * IMAGES, True)


def test_an_object_that_the_neck_loses(tmp_path):
    assert verdicts(run_of(tmp_path, lost=("neck",))) == {"lost in neck"}


def test_an_object_that_no_layer_has(tmp_path):
    found = run_of(tmp_path, lost=("backbone", "neck"))
    counts = [list(found.verdicts.values()).count(one) for one in (evidence.ABSENT, evidence.LOST_BY_HEAD)]
    assert counts[0] >= IMAGES - 2, "one in twenty of the background is taken for an object, in each of four levels"


def test_an_object_below_one_cell(tmp_path):
    found = run_of(tmp_path, small=True)
    assert verdicts(found) == {evidence.BELOW_RESOLUTION}
    row = found.rows[0]
    assert row.cells < 1
    assert (row.likeness, row.probe, row.ratio, row.present) == (None, None, None, None)


def test_few_images_decide_nothing(tmp_path):
    found = run_of(tmp_path, images=3)
    assert verdicts(found) == {evidence.UNDECIDED}
    assert not any(one.reliable for one in found.levels)


def test_a_blank_level_is_not_believed(tmp_path):
    found = run_of(tmp_path, blank=[("neck", 0)])
    reliable = {(one.layer, one.level): one.reliable for one in found.levels}
    assert reliable == {("backbone", 0): True, ("backbone", 1): True, ("neck", 0): False, ("neck", 1): True}
    blank = [row for row in found.rows if (row.layer, row.level) == ("neck", 0)]
    assert {row.present for row in blank} == {None}


def test_its_own_image_says_nothing_of_an_object(tmp_path):
    """Each image has a signature of its own in all of its objects; it makes nothing likely."""
    random = np.random.default_rng(0)
    truth, maps = {}, {}
    for number in range(IMAGES):
        name, some = f"i{number}", place_objects(number)
        truth[name] = (boxes(*some), None)
        array = random.normal(0, 0.1, (40, SIZE // 8, SIZE // 8)).astype(np.float32)
        signature = random.normal(0, 1, 40)
        for x, y, width, height, *_ in some:
            array[:, int((y - height / 2) / 8) : int((y + height / 2) / 8), int((x - width / 2) / 8) : int(
                (x + width / 2) / 8
            )] += signature[:, None, None]  # fmt: skip
        maps[name] = array
    run = write_run(tmp_path / "run", truth, [("neck", 0, 8, maps)])
    found = find_evidence(walk_objects(run, background=True), {(name, n): n != 5 for name in truth for n in range(6)})
    assert found.levels[0].likeness.auc < 0.8
    assert found.levels[0].probe.auc < 0.8
    assert not found.levels[0].reliable


def test_rows(tmp_path):
    found = run_of(tmp_path, lost=("neck",))
    rows = [row for row in found.rows if row.sample == "i0"]
    assert [(row.layer, row.level) for row in rows] == [("backbone", 0), ("backbone", 1), ("neck", 0), ("neck", 1)]
    assert rows[0].likeness > 0.9 > rows[2].likeness
    assert rows[0].ratio > 1.2 > rows[2].ratio
    assert rows[0].cells == pytest.approx(9)
    assert rows[0].present is True
    assert rows[2].present is False


def rows_of(**ranks):
    """Evidence of one object: the ranks of each layer's levels."""
    return {
        layer: [
            evidence.Evidence("a", 0, layer, "", n, 9.0, None, None, None, present=None, rank=rank)
            for n, rank in enumerate(some)
        ]
        for layer, some in ranks.items()
    }


@pytest.mark.parametrize(
    ("ranks", "shares", "verdict"),
    [
        ({"backbone": [0.99], "neck": [0.99]}, (0.9, 0.9), evidence.LOST_BY_HEAD),
        ({"backbone": [0.2], "neck": [0.99]}, (0.9, 0.5), evidence.LOST_BY_HEAD),
        ({"backbone": [0.99], "neck": [0.2]}, (0.5, 0.9), "lost in neck"),
        ({"backbone": [0.99], "neck": [0.2]}, (0.9, 0.5), evidence.UNDECIDED),  # it lacks half of the found ones too
        ({"backbone": [0.2], "neck": [0.2]}, (0.9, 0.9), evidence.ABSENT),
        ({"backbone": [0.2], "neck": [0.2]}, (0.5, 0.9), evidence.UNDECIDED),
        ({"backbone": [0.99], "neck": [0.96, 0.1, 0.1]}, (0.9, 0.9), "lost in neck"),  # one of three chances
        ({"backbone": [0.99], "neck": [0.985, 0.1, 0.1]}, (0.9, 0.9), evidence.LOST_BY_HEAD),
        ({"backbone": [None], "neck": [None]}, (0.9, 0.9), evidence.UNDECIDED),
    ],
)
def test_what_layers_say_together(ranks, shares, verdict):
    assert evidence._verdict(rows_of(**ranks), dict(zip(("backbone", "neck"), shares))) == verdict


def test_an_object_outside_of_all_maps_is_not_below_resolution():
    rows = {"neck": [one._replace(cells=0.0, rank=None) for one in rows_of(neck=[0.5])["neck"]]}
    assert evidence._verdict(rows, {"neck": 1.0}) == evidence.UNDECIDED
