"""From raw outputs to scores: as the detectors work them out."""

import numpy as np
import pytest

from featscope.arrays.scores import class_scores, highest_score, sigmoid


@pytest.fixture
def raw():
    return np.random.default_rng(0).normal(0, 3, (6, 2, 4))


def test_sigmoid_at_the_ends():
    assert sigmoid(np.array([-1e30, 1e30], np.float32)).tolist() == [0, 1]


def test_the_highest_of_all_anchors_and_classes(raw):
    np.testing.assert_allclose(highest_score(raw, "sigmoid", 3), 1 / (1 + np.exp(-raw.max(0))))
    np.testing.assert_array_equal(highest_score(raw, "", 3), raw.max(0))


def test_softmax_is_over_one_anchors_classes_and_leaves_the_background_out(raw):
    scores = class_scores(raw, "softmax", 2)
    powers = np.exp(raw).reshape(2, 3, 2, 4)
    np.testing.assert_allclose(scores, (powers / powers.sum(1, keepdims=True))[:, :2])
    assert (highest_score(raw, "softmax", 2) < 1).all()


def test_a_factor_belongs_to_its_anchor(raw):
    factor = np.full((2, 2, 4), -1e9)
    factor[1] = 0
    expected = 0.5 / (1 + np.exp(-raw[3:].max(0)))
    np.testing.assert_allclose(highest_score(raw, "sigmoid", 3, factor), expected)
    np.testing.assert_allclose(highest_score(raw, "sigmoid", 3, factor, root=True), np.sqrt(expected))
