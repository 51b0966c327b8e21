"""What several tests need."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featscope.records import CapturedMap, Geometry, RunInfo, Sample, assumed_place
from featscope.store.writer import RunWriter


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="kill, mutate and repeat as often as the design page says")


OPTIONAL = {
    "torch",
    "safetensors",
    "distributed",
    "hypothesis",
    "ml_dtypes",
    "pandas",
    "xarray",
    "nbclient",
    "starlette",
    "uvicorn",
    "ipykernel",
}
"""Packages that featscope, or a part of its tests, does without."""


def _missing(error):
    """The optional package that an error says is not installed, or None."""
    while error is not None and not (isinstance(error, ImportError) and error.name):
        error = error.__cause__ or error.__context__
    name = error.name.partition(".")[0] if error is not None else None
    return name if name in OPTIONAL else None


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """A file of tests that needs a package that is not installed is skipped; the others run."""
    report = (yield).get_result()
    missing = _missing(report.call.excinfo.value) if report.failed and report.call.excinfo else None
    if missing:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, f"Skipped: {missing} is not installed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """So is a single test."""
    report = (yield).get_result()
    missing = _missing(call.excinfo.value) if report.failed and call.excinfo else None
    if missing:
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, f"Skipped: {missing} is not installed")


@pytest.fixture
def times(pytestconfig):
    """How often a test that draws at random does so: times(reduced, full)."""
    return lambda reduced, full: full if pytestconfig.getoption("--full") else reduced


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def run(tmp_path):
    """A finished run of two maps of one sample, whose image lies beside it."""
    image = tmp_path / "photo.png"
    Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(image)
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy", classes=["ship"]))
    geometry = Geometry((20, 30), (20, 30), (32, 32))
    writer.put_sample(Sample("a", str(image), geometry=geometry), np.full((20, 30, 3), 128, np.uint8))
    for level, size in enumerate((8, 4)):
        array = np.arange(3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
        place = assumed_place((32, 32), (size, size))
        writer.put(CapturedMap("neck", "FPN", "", level, 0, 0, ["a"], "neck.fpn", place=place), array)
    writer.close()
    return tmp_path / "run"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    if not shutil.which("mount") or os.getuid():
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def pixels(source):
    """A PNG's pixels as (H, W, 3)."""
    import io

    opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source))
    return np.asarray(opened.convert("RGB"))


@pytest.fixture
def featscope(capsys):
    """Type a command; gives its exit code, its output and its errors."""
    from featscope.cli import main

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return run
