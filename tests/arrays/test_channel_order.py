"""Whether the channels of two layers are in the same order."""

import numpy as np
import pytest

from featscope.arrays.channel_order import FEWEST, channel_order


def layers(random, objects=100, channels=32, noise=0.5):
    """Correlated features of a layer, and of the same layer after some more training."""
    mixing = random.normal(size=(channels, channels))
    features = random.normal(size=(objects, channels)) @ mixing
    return features, 3 * features + noise * features.std() * random.normal(size=features.shape) + 5


def test_a_layer_and_the_same_layer_later(random):
    one, later = layers(random)
    found = channel_order(one, later)
    assert found.proved
    assert found.channels == 32
    assert found.same > 24
    assert channel_order(one, -later).same == found.same, "the sign of a feature is no matter"


def test_other_orders_are_not_taken_for_the_same(random):
    one, later = layers(random)
    for other in (later[:, random.permutation(32)], np.roll(later, 1, 1), layers(random)[0]):
        found = channel_order(one, other)
        assert not found.proved
        assert found.same < 8


def test_half_of_the_channels_are_enough_and_fewer_are_not(random):
    one, later = layers(random, noise=0.1)
    for moved, proved in ((12, True), (20, False)):
        other = later.copy()
        other[:, :moved] = later[:, np.roll(np.arange(moved), 1)]
        assert channel_order(one, other).proved is proved


def test_few_channels_match_by_chance(random):
    one, later = layers(random, channels=2)
    assert channel_order(one, later).same == 2
    assert not channel_order(one, later).proved, "two of two match by chance once in four times"
    assert not channel_order(one[:, :1], later[:, :1]).proved


def test_objects_that_cannot_be_used_are_left_out(random):
    one, later = layers(random)
    whole = channel_order(one, later)
    spoiled = one.copy()
    spoiled[:3, 0] = np.nan, np.inf, -np.inf
    assert abs(channel_order(spoiled, later).same - whole.same) <= 2
    assert not channel_order(one[: FEWEST - 1], later[: FEWEST - 1]).channels
    assert channel_order(one[:FEWEST], later[:FEWEST]).channels == 32


def test_channels_that_do_not_vary_do_not_count(random):
    one, later = layers(random)
    one[:, :5], later[:, 3:8] = 0.1, 1e8
    assert channel_order(one, later).channels == 24


@pytest.mark.parametrize("shape", [(100, 31), (100, 0)])
def test_other_shapes_have_nothing_in_common(random, shape):
    found = channel_order(layers(random)[0][:, : shape[1]] if not shape[1] else layers(random)[0], np.zeros(shape))
    assert (found.same, found.channels, found.proved) == (0, 0, False)
