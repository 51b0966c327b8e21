"""What the charts of values say of a run."""

import numpy as np
import pytest
from test_statistics import PADDED, maps, write_run

import featscope
from featscope.errors import BadArrayError
from featscope.render.canvas import Text


def texts(found):
    return [mark.text for mark in found.plot().canvas.marks if isinstance(mark, Text)]


def test_the_numbers_are_those_of_the_table(tmp_path):
    found = featscope.statistics(write_run(tmp_path / "harbour", np.maximum(maps(), 0)))
    (row,) = found.layers
    said = texts(found)
    assert said[:2] == ["Values of the maps", "harbour: 6 images; cells on padding do not count"]
    assert "neck.fpn" in said
    assert "level 0, 5 channels" in said
    assert f"zeros {100 * row.zeros:.1f} %, median 0, p99 {row.p99:.3g}" in said
    assert f"effective rank {row.effective_rank:.1f} of 5, 0 silent" in said


def test_what_was_not_computed_is_not_said(tmp_path):
    run = write_run(tmp_path / "run", maps())
    assert "0 silent" in texts(featscope.statistics(run, covariance=False))


def test_numbers_that_are_none_are_named(tmp_path):
    arrays = maps()
    arrays[0, 0, 0, 0] = np.nan
    assert "NaN < 0.1 %, infinite 0 %" in texts(featscope.statistics(write_run(tmp_path / "some", arrays)))
    arrays[:] = np.inf
    nothing = texts(featscope.statistics(write_run(tmp_path / "all", arrays)))
    assert "no finite value" in nothing
    assert "NaN 0 %, infinite 100 %" in nothing


def test_reduced_maps_say_how(tmp_path):
    run = write_run(tmp_path / "run", maps(channels=1), geometry=PADDED, reduced="absmax")
    assert "level 0, 1 channel, reduced by absmax" in texts(featscope.statistics(run))


def test_without_maps_there_is_no_plot(tmp_path):
    run = write_run(tmp_path / "run", maps(), ("sample", "channel", "token", "column"), geometry=None)
    with pytest.raises(BadArrayError, match="no maps whose values"):
        featscope.statistics(run).plot()
