"""Measured places lie beside a run and change nothing of it."""

import pytest

from featscope.errors import BadRunError
from featscope.records import MeasuredPlace, Place
from featscope.store.places import PLACES, read_places, write_places
from featscope.store.reader import open_run


def place(offset, level=0, stride=(4.0, 4.0), refused=""):
    return MeasuredPlace("neck", "", level, stride, offset, (0.01, 0.01), 30, "gradient", refused)


def measured(folder, *places):
    write_places(folder, open_run(folder).info.started, places)
    return open_run(folder)


def test_the_measured_place_comes_before_the_others(run):
    opened = measured(run, place((1.5, 0.25)))
    first, second = opened.maps
    assert first.place() == Place((4.0, 4.0), (6.0, 1.0), "measured")
    assert first.place("operators") == Place((4.0, 4.0), (2.0, 2.0), "assumed")  # as nothing was followed
    assert first.place("assumed") is None
    assert second.place() == Place((8.0, 8.0), (4.0, 4.0), "assumed")
    assert opened.select(level=0)[0].place() == first.place()


@pytest.mark.parametrize("one", [place((1.5, 0.5), refused="too wide"), place((1.5, 0.5), stride=(5.0, 4.0))])
def test_what_is_refused_or_of_another_stride_is_not_used(run, one):
    assert measured(run, one).maps[0].place().known == "assumed"


def test_places_of_another_run_in_the_same_folder_are_not_used(run):
    write_places(run, "yesterday", [place((1.5, 0.5))])
    assert open_run(run).maps[0].place().known == "assumed"
    assert not open_run(run).problems


@pytest.mark.parametrize("text", [b"", b"{", b'{"format":1,"started":"","places":[{"layer":1}]}', b"\xff"])
def test_a_damaged_file_is_one_problem_and_the_run_is_read(run, text):
    (run / PLACES).write_bytes(text)
    opened = open_run(run)
    assert len(opened.maps) == 2
    (problem,) = opened.problems
    assert "featscope place" in str(problem)
    with pytest.raises(BadRunError, match="damaged"):
        read_places(run, "")


def test_a_stride_that_no_map_has_is_damage(run):
    text = b'{"format":1,"started":"","places":[{"layer":"neck","field":"","level":0,"stride":[0,4],'
    (run / PLACES).write_bytes(text + b'"offset":[0,0],"interval":[0,0],"count":9,"by":"gradient"}]}')
    assert "apart" in str(open_run(run).problems[0])
