"""The tables of misses in a terminal: they wrap, and no number is cut."""

import re
from math import nan

import pytest

from featscope.analysis.error_types import ErrorRow
from featscope.analysis.evidence import Findings, Quality
from featscope.analysis.misses import Misses, misses
from featscope.analysis.points import Point
from featscope.arrays.ranking import Separation
from featscope.cli.miss_tables import tell_errors, tell_levels, tell_misses
from featscope.store.tables import Rows
from tests.analysis.runs import boxes, write_run

SIZES = ("all", "extremely small", "relatively small", "generally small", "normal")


@pytest.fixture(params=[80, 120])
def terminal(request, monkeypatch, capsys):
    """A terminal of this width; returns what was printed, without its colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(request.param))

    def printed():
        text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        # A sentence is left to the terminal; a table is laid out for it.
        rows = [line for line in text.splitlines() if "  " in line.strip()]
        assert max(map(len, rows), default=0) <= request.param
        return text

    return printed


def findings(sensitivity):
    sure = Separation(0.93, 0.81, 0.96, 263, 879)
    levels = [Quality(layer, "", level, 1234, sure, sure, sure, sure, True)
              for layer in ("backbone", "neck") for level in (0, 1)]  # fmt: skip
    return Findings({}, Rows((), []), Rows(Quality._fields, levels), Rows((), []), sensitivity)


def found(**more):
    return Misses(Point(0.3, 0.5, "voc", "given"), Rows((), []), Rows((), []), objects=3, ignored=0, images=1, **more)


def test_no_number_of_the_levels_is_cut(terminal):
    tell_levels(found(findings=findings({})))
    text = terminal()
    lines = text.splitlines()
    for word in ("layer", "level", "objects", "reliable"):
        assert word in lines[0] + lines[1]
    whole = "".join(text.split())
    assert whole.count("263and") + len(re.findall(r"263\s", text)) >= 4
    assert text.count("879") == 4 * 3
    assert text.count("1234") == 4
    assert text.count("yes") == 4


def test_no_number_of_the_errors_is_cut(terminal):
    rows = [ErrorRow(kind, size, 1000, nan if kind == "missed" else 0.125)
            for kind in ("classification", "localisation", "missed") for size in SIZES]  # fmt: skip
    tell_errors(Rows(ErrorRow._fields, rows))
    text = terminal()
    assert text.count("12.5 (1000)") == 2 * len(SIZES)
    assert text.count("none (1000)") == len(SIZES)
    assert "nan" not in text
    assert "whatever their" in text


def test_what_the_test_of_the_features_is_worth(terminal):
    tell_misses(found(findings=findings({"backbone": 0.92})))
    text = " ".join(terminal().split())
    assert "features of backbone: this test sees 92 % of the found objects features of neck" in text
    assert "no level tells found objects from background reliably, so nothing is said of it" in text
    tell_misses(found(findings=findings({"backbone": 0.38, "neck": 0.45})))
    assert " ".join(terminal().split()).count("too few to say that a missed one is absent") == 2


def test_a_row_for_all_and_what_the_sizes_are(terminal, tmp_path):
    truth = boxes((60, 60, 40, 20, 0, 0), (160, 60, 40, 20, 0, 1))
    run = write_run(tmp_path / "run", {"a": (truth, boxes((9, 9, 4, 4, 0, 0), scores=[0.9]))}, [])
    tell_misses(misses(run, 0.3, candidates=lambda sample: None))
    lines = [line.split() for line in terminal().splitlines()]
    assert ["all", "all", "2", "2", "no", "candidates"] in lines
    assert any(line[:1] == ["sizes:"] for line in lines)
