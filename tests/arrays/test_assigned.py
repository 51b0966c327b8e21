"""Sizes that a training assigns to levels: rules of distances, of overlaps, of areas, and what is said of them."""

import msgspec
import numpy as np
import pytest

from featscope.arrays.assigned import BY_SCORES, AssignedSizes, by_anchors, by_area, by_distance, squares_of


@pytest.mark.parametrize("seed", range(40))
def test_the_squares_that_overlap_a_box_enough_are_those_that_are_found_by_trying(seed):
    random = np.random.default_rng(seed)
    width, height = np.exp(random.uniform(0, 3, 2))
    overlap = random.uniform(0.2, 0.9)
    sides = np.exp(np.linspace(-2, 6, 80_001))
    common = np.minimum(sides, width) * np.minimum(sides, height)
    reaching = sides[common / (sides**2 + width * height - common) >= overlap]
    found = squares_of(width, height, overlap)
    if not len(reaching):
        assert found is None
    else:
        assert found == pytest.approx((reaching[0], reaching[-1]), rel=5e-4)
    assert squares_of(height, width, overlap) == found


def test_of_several_anchors_a_level_has_all_sizes_that_one_of_them_reaches():
    sizes = by_anchors([[(32, 32), (40, 40)], [(64, 64)]], "the anchors", 0.5)
    assert sizes.by == "range"
    assert sizes.levels[0] == pytest.approx((32 * 0.5**0.5, 40 * 2**0.5))
    assert sizes.levels[1] == pytest.approx((64 * 0.5**0.5, 64 * 2**0.5))
    assert sizes.rule == "the anchors and an IoU of at least 0.5, for a square object around a cell"


@pytest.mark.parametrize(
    "sides",
    [
        pytest.param([(8, 8), (64, 64)], id="squares of 20 pixels reach neither"),
        pytest.param([(8, 80)], id="no square reaches it"),
    ],
)
def test_sizes_that_are_no_range_are_only_those_of_the_anchors(sides):
    sizes = by_anchors([sides], "the anchors", 0.5)
    assert sizes == by_anchors([sides], "the anchors")
    assert sizes.by == "anchors"
    areas = [width * height for width, height in sides]
    assert sizes.levels == [pytest.approx((min(areas) ** 0.5, max(areas) ** 0.5))]


def test_a_distance_to_a_side_is_half_an_object():
    sizes = by_distance([(-1, 32), (32, 1e5), (1e5, 1e8)], "regress_ranges")
    assert sizes.levels == [(0, 64), (64, 2e5), (2e5, None)]


def test_one_level_serves_all_regions():
    assert by_area(112, 1, "").levels == [(0, None)]
    assert by_area(112, 1, "").in_words(0) == "all sizes"


def test_words_of_anchors_of_several_sizes():
    sizes = AssignedSizes([(4.04, 32.4), (31.6, 32.4), (32.0, 32.0)], by="anchors")
    assert [sizes.in_words(level) for level in range(3)] == [
        "anchors of 4 to 32 px",
        "anchors of 32 px",
        "anchors of 32 px",
    ]
    assert AssignedSizes(unknown=BY_SCORES).in_words(3) == BY_SCORES


def test_a_rule_of_other_levels_than_those_of_the_head_is_not_believed():
    sizes = by_distance([(0, 8), (8, 16)], "regress_ranges")
    assert sizes.for_levels(2) is sizes
    assert sizes.for_levels(3).levels == []
    regions = by_area(112, 4, "")  # they are levels of the features; all regions are one level of the candidates
    assert regions.for_levels(1) is regions
    unknown = AssignedSizes(unknown=BY_SCORES)
    assert unknown.for_levels(1) is unknown


def test_other_pixels_have_no_sizes_beyond_those_of_an_image():
    sizes = AssignedSizes([(0.0, 64.0), (64.0, None)])
    assert sizes.scaled(0.5).levels == [(0, 32), (32, None)]
    assert sizes.scaled(1e9).levels[0] == (0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": [(9.0, 8.0)]},
        {"levels": [(-1.0, 8.0)]},
        {"levels": [(1.0, 1e9)]},
        {"levels": [(1.0, 2.0)] * 65},
        {"levels": [(1.0, 2.0)], "unknown": BY_SCORES},
        {},
        {"unknown": BY_SCORES, "by": "magic"},
        {"unknown": BY_SCORES, "kind": "query"},
    ],
)
def test_impossible_sizes_are_refused_when_they_are_read(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(wrong), type=AssignedSizes)
