"""Layers of two networks compared on samples in memory, and on samples that come in blocks."""

import numpy as np
import pytest

from featscope.analysis.likeness import likeness, likeness_of, matrix_of, pair_of
from featscope.analysis.likeness_sums import LikenessOptions, Samples
from featscope.arrays.similarity import Sums, cka
from featscope.errors import BadArrayError, BadOptionError, BadRunError, UnknownNameError

NECK, HEAD, OTHER = ("neck", "", 0), ("head", "scores", 1), ("neck", "", 1)


def exact(x, y):
    return cka(Sums.of(x, y), Sums.of(x, x), Sums.of(y, y))


def networks(random, n=60):
    z = random.normal(size=(n, 4))
    one = {NECK: z @ random.normal(size=(4, 8)), HEAD: z[:, :2] + 0.3 * random.normal(size=(n, 2))}
    two = {NECK: z @ random.normal(size=(4, 6)) + random.normal(size=(n, 6)), OTHER: random.normal(size=(n, 5))}
    return one, two, np.arange(n) // 3


def blocks(one, two, images, cuts):
    for rows in np.split(np.arange(len(images)), cuts):
        yield Samples({k: v[rows] for k, v in one.items()}, {k: v[rows] for k, v in two.items()}, images[rows])


def test_a_row_for_each_pair(random):
    one, two, images = networks(random)
    rows = likeness(one, two, images)
    assert [pair_of(row) for row in rows] == [(a, b) for a in one for b in two]
    for row in rows:
        assert row.value == pytest.approx(exact(one[pair_of(row)[0]], two[pair_of(row)[1]]), rel=1e-9)
        assert row.low < row.value < row.high
        assert row.noise < row.noise_high
        assert (row.samples, row.images, row.kept, row.left_out) == (60, 20, 60, 0)
        assert (row.measure, row.remark) == ("unbiased linear CKA", "")
    assert [row.above_noise for row in rows] == [True, False, True, False]


def test_blocks_give_what_all_samples_at_once_give(random):
    one, two, images = networks(random)
    for options in (None, LikenessOptions(z_scores=True), LikenessOptions("neighbours"), LikenessOptions("procrustes")):
        whole = likeness(one, two, images, options)
        for cuts in ([3], [9, 30, 33], range(3, 60, 3)):
            for row, same in zip(whole, likeness_of(list(blocks(one, two, images, cuts)), options)):
                assert row[:6] == same[:6]
                assert row[6:11] == pytest.approx(same[6:11], rel=1e-9, abs=1e-12)
                assert row[11:] == same[11:]


def test_many_samples_are_summed_and_few_are_kept(random):
    one, two, images = networks(random, 3000)
    options = LikenessOptions(keep=50, shuffles=20, resamples=20)
    rows = likeness(one, two, images, options)
    again = likeness_of(blocks(one, two, images, range(300, 3000, 300)), options)
    for row, same in zip(rows, again):
        assert row.value == pytest.approx(exact(one[pair_of(row)[0]], two[pair_of(row)[1]]), rel=1e-9)
        assert (row.samples, row.kept, row.images) == (3000, 50, 1000)
        assert row[6:11] == pytest.approx(same[6:11], rel=1e-9, abs=1e-12)
    wide, narrow = rows[0], likeness(one, two, images, options._replace(keep=400))[0]
    assert wide.noise_high > 1.5 * narrow.noise_high
    assert likeness(one, two, images, options._replace(measure="neighbours"))[0].samples == 50


def test_rows_come_in_the_order_of_the_layers_whatever_the_groups(random):
    one, two, images = networks(random)
    some = Samples({HEAD: one[HEAD]}, two, images, "some", {(HEAD, OTHER)})
    others = Samples(one, two, images, "others", {(a, b) for a in one for b in two} - {(HEAD, OTHER)})
    for order in ([some, others], [others, some]):
        assert [pair_of(row) for row in likeness_of(order)] == [(a, b) for a in one for b in two]


def test_missing_samples_are_left_out_and_counted(random):
    one, two, images = networks(random)
    clean = likeness(*({k: v[2:] for k, v in side.items()} for side in (one, two)), images[2:])
    one[NECK][0, 3], two[OTHER][1, 0] = np.nan, np.inf
    rows = likeness(one, two, images)
    for row, expected in zip(rows, clean):
        assert row.value == pytest.approx(expected.value, rel=1e-9)
        assert (row.samples, row.left_out) == (58, 2)


def test_a_layer_without_values_has_a_reason(random):
    one, two, images = networks(random)
    one[HEAD] = np.ones_like(one[HEAD])
    two[OTHER][:58] = np.nan
    rows = {pair_of(row): row for row in likeness(one, two, images)}
    assert list(rows) == [(a, b) for a in one for b in two]
    good, constant, missing = rows[NECK, NECK], rows[HEAD, NECK], rows[HEAD, OTHER]
    assert (good.samples, good.left_out, good.remark) == (60, 0, "")
    assert np.isnan(constant[6:11]).all()
    assert constant.remark == "head.scores 1 of A: all samples have the same features"
    assert np.isnan(missing[6:11]).all()
    assert missing.remark == "neck 1 of B: 58 of 60 samples cannot be used (NaN or infinity)"
    assert not missing.above_noise
    everything = likeness({HEAD: one[HEAD]}, {OTHER: two[OTHER]}, images)
    assert np.isnan(everything[0].value)


def test_z_scores_let_small_channels_count(random):
    z, loud = random.normal(size=(60, 1)), 100 * random.normal(size=(2, 60, 1))
    one, two = ({NECK: np.concatenate([z, noise, np.zeros((60, 1))], 1)} for noise in loud)
    plain, scored = (likeness(one, two, np.arange(60), LikenessOptions(z_scores=on))[0] for on in (False, True))
    assert plain.value < 0.1 < 0.3 < scored.value
    scores = [(t - t.mean(0)) / np.where(t.std(0) > 0, t.std(0), 1) for t in (one[NECK], two[NECK])]
    assert scored.value == pytest.approx(exact(*scores), rel=1e-9)
    assert scored.measure == "unbiased linear CKA, channels as z-scores"


def test_samples_without_a_direction_have_no_neighbours(random):
    one, two, images = networks(random)
    one[NECK][:5] = 0
    row = likeness(one, two, images, LikenessOptions("neighbours"))[0]
    assert (row.samples, row.left_out) == (55, 5)
    assert row.measure == "share of common nearest neighbours (cosine), 10 neighbours"
    assert likeness(one, two, images)[0].left_out == 0


def test_one_image_has_no_interval(random):
    one, two, images = networks(random)
    row = likeness(one, two, images * 0)[0]
    assert np.isnan([row.low, row.high]).all()
    assert row.remark == "no interval: too few images (1)"
    assert row.value == pytest.approx(exact(one[NECK], two[NECK]))
    assert abs(row.noise) < 0.1


def test_images_may_have_names(random):
    one, two, images = networks(random)
    named = np.array([f"image {number:02d}" for number in images])
    assert likeness(one, two, named) == likeness(one, two, images)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_samples_are_refused(random, count):
    one, two, images = networks(random)
    with pytest.raises(BadRunError, match=f"{count} samples? cannot show how alike two layers are, at least 4"):
        likeness(*({k: v[:count] for k, v in side.items()} for side in (one, two)), images[:count])


def test_what_else_is_refused(random):
    one, two, images = networks(random)
    with pytest.raises(BadRunError, match="there is no layer to compare: 0 of A and 2 of B"):
        likeness({}, two, images)
    with pytest.raises(BadRunError, match="there is no sample to compare; give two runs of the same images"):
        likeness_of([])
    with pytest.raises(BadArrayError, match=r"the features of neck 0 are \(59, 8\) float64; .* with 60 rows"):
        likeness({NECK: one[NECK][:59]}, two, images)
    with pytest.raises(UnknownNameError, match="there is no measure of likeness 'cca'"):
        likeness(one, two, images, LikenessOptions("cca"))
    with pytest.raises(BadOptionError, match="shuffles is 0; set it to at least 1"):
        likeness(one, two, images, LikenessOptions(shuffles=0))
    with pytest.raises(BadRunError, match="70 neighbours need at least 72 samples, but there are 60; .* at most 58"):
        likeness(one, two, images, LikenessOptions("neighbours", neighbours=70))
    with pytest.raises(BadOptionError, match="z-scores need the samples twice"):
        likeness_of(blocks(one, two, images, [30]), LikenessOptions(z_scores=True))
    wider = Samples({NECK: np.ones((5, 3))}, {NECK: np.ones((5, 3))}, np.arange(5))
    narrower = Samples({NECK: np.ones((5, 2))}, {NECK: np.ones((5, 3))}, np.arange(5))
    with pytest.raises(BadArrayError, match="neck 0 has 3 channels in some images and 2 in others"):
        likeness_of([wider, narrower])
    with pytest.raises(BadArrayError, match="every block of samples must have the same layers"):
        likeness_of([wider, Samples({HEAD: np.ones((5, 3))}, wider.second, np.arange(5))])


def test_the_matrix_has_the_values_in_their_places(random):
    one, two, images = networks(random)
    rows = likeness(one, two, images)
    matrix = matrix_of(rows, "runs/a", "runs/b")
    assert matrix.rows == [("neck", "0"), ("head.scores", "1")]
    assert matrix.columns == [("neck", "0"), ("neck", "1")]
    assert matrix.values.ravel().tolist() == [row.value for row in rows]
    assert matrix.floor.ravel().tolist() == [row.noise_high for row in rows]
    assert matrix.sides == ("runs/a", "runs/b")
    assert matrix.words == "unbiased linear CKA; 60 objects of 20 images"
