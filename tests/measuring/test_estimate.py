"""Medians and their intervals."""

import numpy as np
import pytest

from featscope.measuring.estimate import estimate


def test_images_that_disagree_make_the_interval_wide(random):
    images = np.repeat(np.arange(4), 50)
    agree = random.normal(0.3, 0.05, (200, 2))
    assert estimate(agree, images).refused == ""
    differ = agree + np.array([-0.4, -0.2, 0.2, 0.4])[images][:, None]
    assert "wider" in estimate(differ, images).refused


def test_few_cells_are_no_estimate(random):
    assert "only 7" in estimate(random.normal(0, 0.01, (7, 2)), np.zeros(7, int)).refused
    assert estimate(np.zeros((0, 2)), np.zeros(0, int)).refused


def test_it_is_the_same_every_time(random):
    offsets, images = random.normal(0, 0.2, (40, 2)), np.repeat(np.arange(4), 10)
    assert estimate(offsets, images) == estimate(offsets, images)


def test_a_few_that_lie_anywhere_move_nothing(random):
    """Boxes of another object, or cut off where nobody knows it: up to a quarter at each end is passed over."""
    offsets = random.normal(0.3, 0.02, (200, 2))
    offsets[:30] += 20
    assert estimate(offsets, np.repeat(np.arange(4), 50)).offset == pytest.approx((0.3, 0.3), abs=0.02)
