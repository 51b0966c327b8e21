"""Which layers of a run names and globs choose."""

import pytest

from featscope.store.globs import Chosen, choose_names

KNOWN = ["backbone", "backbone.layer1", "backbone.layer1.0", "head.0", "head.1", "neck"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], KNOWN),
        (["backbone"], ["backbone"]),
        (["backbone.*"], ["backbone.layer1"]),
        (["backbone.**"], ["backbone.layer1", "backbone.layer1.0"]),
        (["*"], ["backbone", "neck"]),
        (["head"], ["head.0", "head.1"]),
        (["neck", "head.*"], ["head.0", "head.1", "neck"]),
        (["!backbone"], ["head.0", "head.1", "neck"]),
        (["**", "!head.1", "!backbone.**"], ["backbone", "head.0", "neck"]),
    ],
)
def test_chosen(patterns, names):
    assert choose_names(KNOWN, patterns) == Chosen(names, [])


def test_what_matches_nothing_is_named():
    assert choose_names(KNOWN, ["neck", "nekc", "!heads"]) == Chosen(["neck"], ["nekc", "!heads"])
