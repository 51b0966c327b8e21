"""The real frameworks, and the real images and weights beside the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared"


def pytest_configure(config):
    """Frameworks warn of their own affairs; what featscope says, or does to be warned of, fails a test."""
    for line in ("default", r"error:featscope\b", r"error:::featscope\b"):
        config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and not SHARED.exists():
            item.add_marker(pytest.mark.skip(reason=f"needs the images and weights of {SHARED}"))


@pytest.fixture(scope="session")
def mmrotate_root():
    return Path(pytest.importorskip("mmrotate", reason="needs MMRotate: see README").__file__).parent


@pytest.fixture(scope="session")
def mmdet_root():
    return Path(pytest.importorskip("mmdet", reason="needs MMDetection: see README").__file__).parent


def run(*command, check=True, folder=PROJECT):
    """Run a command of a user; returns what it printed."""
    # The featscope of this tree, wherever else one is installed.
    paths = [str(PROJECT / "src"), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    if check and done.returncode:
        raise AssertionError(f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done


def featscope(*arguments, **options):
    return run(sys.executable, "-m", "featscope", *arguments, **options)
