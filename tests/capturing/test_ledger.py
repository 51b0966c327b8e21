"""The ledger: which samples are kept, and that no two have one id."""

import pytest

from featscope.capturing.ledger import Ledger
from featscope.errors import BadOptionError
from featscope.records import Policy, Sample


def _kept(policy, size, batch=1, world=1, rank=0, dataset_size=None, names=None):
    ledger = Ledger(policy, dataset_size, rank, world)
    found = []
    for first in range(0, size, batch):
        count = min(batch, size - first)
        part = [Sample(*name) for name in names[first : first + count]] if names else [Sample("")] * count
        found += [first + row for row in ledger.enter(part).rows]
    return found


def test_every_and_at_most():
    assert _kept(Policy(every=3), 10) == [0, 3, 6, 9]
    assert _kept(Policy(every=3), 10, batch=4) == [0, 3, 6, 9]
    assert _kept(Policy(every=3, max_samples=2), 10) == [0, 3]
    assert _kept(Policy(max_samples=2), 10, batch=4) == [0, 1]


def test_globs_match_ids_and_files():
    names = [(f"P{i:02d}", f"/data/{'ship' if i % 2 else 'plane'}_{i}.png") for i in range(6)]
    assert _kept(Policy(images=["P03", "plane_*"]), 6, names=names) == [0, 2, 3, 4]
    assert _kept(Policy(images=["plane_*"], max_samples=2), 6, names=names) == [0, 2]
    with pytest.raises(BadOptionError, match="needs the names of the images"):
        _kept(Policy(images=["x"]), 1)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("policy", [Policy(), Policy(every=3), Policy(max_samples=3)])
def test_ranks_keep_what_one_keeps_and_nothing_twice(size, policy):
    ranks = -(-size // 2)  # a distributed sampler gives every rank as many, and repeats samples for that
    kept = [[i * 2 + r for i in _kept(policy, ranks, world=2, rank=r, dataset_size=size)] for r in (0, 1)]
    assert sorted(kept[0] + kept[1]) == _kept(policy, size)


def test_globs_and_a_limit_need_one_process():
    with pytest.raises(BadOptionError, match="several ranks"):
        Ledger(Policy(images=["x"], max_samples=1), 10, 0, 2)


def _ids(*samples, ledger=None):
    return [sample.id for sample in (ledger or Ledger()).enter([Sample(*sample) for sample in samples]).samples]


def test_no_two_samples_have_one_id():
    assert _ids(("a",), ("b",), ("a",), ("a",)) == ["a", "b", "a_2", "a_3"]
    assert _ids(("a", "x/a.png"), ("a", "y/a.png")) == ["a", "y_a"]
    assert _ids(("a", "x/v/a.png"), ("a", "y/v/a.png"), ("a", "z/v/a.png")) == ["a", "v_a", "z_v_a"]
    assert _ids(("a", "x/a.png"), ("a", "x/a.jpg")) == ["a", "a.jpg"]
    assert _ids(("a", "x/a.png"), ("a", "x/a.png")) == ["a", "a_2"], "one image, looked at twice"
    assert _ids(("a_2",), ("a",), ("a",)) == ["a_2", "a", "a_3"], "a name that is made up is nobody else's"
    assert _ids(("",), ("", "x/a.png"), ("1",)) == ["0", "a", "1"]


def test_they_are_told_apart_over_batches_and_said_once():
    ledger = Ledger()
    for _ in range(3):
        _ids(("0", "photos/a.png"), ledger=ledger)
    assert ledger.remarks == [
        "several samples have the name '0': photos/a.png is stored as '0_2', and others in the same way"
    ]


def test_frames_are_told_apart_by_their_number():
    frames = [Sample("clip", "clip.mp4", frame=number, time=number / 10) for number in range(3)]
    assert [s.id for s in Ledger().enter(frames).samples] == ["clip", "clip_1", "clip_2"]


def test_views_are_of_their_image():
    """Two images of two views each, as a test-time augmentation shows them: first views first."""
    ledger = Ledger(Policy(every=2), dataset_size=2)
    entries = [
        ledger.enter([Sample("a", "x/a.png", view=view), Sample("a", "y/a.png", view=view)]) for view in range(3)
    ]
    assert [[(s.id, s.image) for s in entry.samples] for entry in entries] == [
        [("a", ""), ("y_a", "")],
        [("a_view1", "a"), ("y_a_view1", "y_a")],
        [("a_view2", "a"), ("y_a_view2", "y_a")],
    ]
    assert [entry.rows for entry in entries] == [[0], [0], [0]], "every second image, with all its views"
    assert ledger.remarks == [
        "several samples have the name 'a': y/a.png is stored as 'y_a', and others in the same way"
    ]


def test_names_that_come_afterwards_take_the_place_of_numbers():
    ledger = Ledger()
    entry = ledger.enter([Sample(""), Sample("")])
    assert [s.id for s in entry.samples] == ["0", "1"]
    assert [s.id for s in ledger.named([Sample("1"), Sample("left")], entry)] == ["1", "left"]
    named = ledger.enter([Sample("x", "there/x.png")])
    assert ledger.named([Sample("other", "")], named) == [Sample("x", "there/x.png")]


def test_numbers_of_batches_go_on():
    ledger = Ledger(rank=1, world_size=3)
    assert [ledger.enter([Sample("")]).number for _ in range(2)] == [1, 4]
    assert ledger.enter([Sample("")], number=10).number == 10
    entry = ledger.enter([Sample("")])
    assert (entry.number, entry.samples[0].id) == (13, "10")


def test_what_is_stored_is_not_kept_again_and_other_images_are_refused():
    from featscope.errors import BadRunError

    ledger = Ledger(stored={0: ["a"], 1: []})
    assert ledger.enter([Sample("a")]).rows == []
    assert ledger.enter([Sample("b")]).rows == []
    assert ledger.enter([Sample("c")]).rows == [0]
    with pytest.raises(BadRunError, match="batch 0 of the run holds a, but now it would hold z"):
        Ledger(stored={0: ["a"]}).enter([Sample("z")])


def test_a_second_loop_over_the_data_set_is_kept():
    ledger = Ledger(dataset_size=2)
    assert [ledger.enter([Sample("a", "x/a.png"), Sample("b", "x/b.png")]).rows for _ in range(2)] == [[0, 1], [0, 1]]
    ranks = Ledger(dataset_size=2, world_size=2)
    assert [ranks.enter([Sample("")]).rows for _ in range(2)] == [[0], []], "a sampler repeats images to fill a batch"


def test_a_way_of_reading_goes_with_its_file():
    ledger = Ledger()
    entry = ledger.enter([Sample("a", "x/a.png", reading="cv2+exif"), Sample("b", "x/b.png", reading="cv2+exif")])
    described = ledger.named([Sample("a"), Sample("b", "elsewhere/b.png")], entry)
    assert [(sample.path, sample.reading) for sample in described] == [("x/a.png", "cv2+exif"), ("elsewhere/b.png", "")]
