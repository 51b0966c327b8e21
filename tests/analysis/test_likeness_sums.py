"""What is gathered of samples that come in blocks: some of them are kept, an even choice from all."""

import numpy as np

from featscope.analysis.likeness_sums import Collector, LikenessOptions, Samples, usable_rows

NECK = ("neck", "", 0)


def test_kept_samples_are_an_even_choice(random):
    table = np.arange(1000.0)[:, None]
    whole = Samples({NECK: table}, {NECK: table}, np.arange(1000))
    collector = Collector(whole, LikenessOptions(keep=200), {})
    for start in range(0, 1000, 50):
        part = table[start : start + 50]
        block = Samples({NECK: part}, {NECK: part}, np.arange(start, start + 50))
        collector.add(block)
    kept = collector._kept[0, NECK][:, 0]
    assert collector.kept == 200
    assert (np.histogram(kept, 10, (0, 1000))[0] > 8).all()
    assert (np.diff(kept) > 0).all()
    assert (collector._kept_images == kept).all()


def test_memory_does_not_grow_with_the_samples(random):
    options = LikenessOptions(keep=20)
    collector = None
    sizes = []
    for number in range(40):
        table = random.normal(size=(100, 3))
        block = Samples({NECK: table}, {NECK: table}, np.arange(100) + 100 * number)
        collector = collector or Collector(block, options, {})
        collector.add(block)
        waiting = sum(len(next(iter(tables.values()))) for tables in collector._waiting)
        sizes.append(len(collector._kept[0, NECK]) + waiting)
    assert max(sizes) < 20 + 612
    assert collector.samples == 4000


def test_usable_rows():
    table = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, np.inf], [0.0, 0.0]])
    assert usable_rows(table, LikenessOptions()).tolist() == [True, False, False, True]
    assert usable_rows(table, LikenessOptions("neighbours")).tolist() == [True, False, False, False]
