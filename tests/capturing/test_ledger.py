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
    with pytest.raises(BadOptionError, match="needs names"):
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
