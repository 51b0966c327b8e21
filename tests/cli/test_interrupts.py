"""Ctrl-C: at any time 130 and no traceback, while modules are imported and in the middle of drawing, once and twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a Ctrl-C of one process reaches all of a console here")

_SLEEP = "[time.sleep(0.01) for _ in range(6000)]"
"""A minute in short naps: Python does not wake for a signal that comes just before one long sleep begins."""


def _start(arguments, **environment):
    """A command as a shell starts it: the group's own, which Ctrl-C reaches as a whole."""
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "featscope", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _wait_until(true):
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert true()


def _interrupt(process, times, seconds=0.0):
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(seconds)
    out, said = process.communicate(timeout=60)
    _check_stopped(process, said)
    return out


def _check_stopped(process, said):
    assert process.returncode == 130, said
    assert said.rstrip().endswith("stopped")
    assert "Traceback" not in said
    assert "ignored" not in said


@pytest.fixture
def maps(tmp_path, random):
    (tmp_path / "maps" / "a").mkdir(parents=True)
    for number in range(100):
        np.save(tmp_path / "maps" / "a" / f"{number}.npy", random.random((64, 64, 64), np.float32))
    return tmp_path / "maps"


@pytest.mark.parametrize("module", ["typer", "numpy", "PIL.Image", "concurrent.futures.process"])
def test_while_a_module_is_imported(tmp_path, maps, module):
    """It says when, and waits there: the command's own imports, and those of its work."""
    reached = tmp_path / "reached"
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time, os\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r} and os.getpid() == os.getsid(0):\n"
        f"            open({str(reached)!r}, 'w').close()\n"
        "            try:\n"
        f"                {_SLEEP}\n"
        "            except KeyboardInterrupt:\n"
        "                raise ImportError('as a library may make of it')\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = _start(["heat", maps], PYTHONPATH=paths)
    _wait_until(reached.exists)
    _interrupt(process, 1)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("executor", ["processes:2", "serial"])
def test_in_the_middle_of_drawing(tmp_path, maps, executor, times):
    process = _start(["heat", maps, "-o", tmp_path / "out", "--executor", executor, "-r", "pca"])
    _wait_until(lambda: len(list(tmp_path.glob("out/a/*.png"))) > 5)
    _interrupt(process, times, 0.01)
    drawn = list(tmp_path.glob("out/a/*.png"))
    assert len(drawn) < 100, "it ends before its work does"
    for path in drawn:
        with Image.open(path) as picture:
            picture.load()


def test_while_the_workers_are_started(tmp_path, maps):
    """They import as well, and have nothing to say of it."""
    for seconds in (0.0, 0.05, 0.2, 0.4):
        process = _start(["render", maps, "-o", tmp_path / str(seconds), "--executor", "processes:2"])
        _wait_until((tmp_path / str(seconds)).exists)
        time.sleep(seconds)
        if process.poll() is not None:
            continue
        os.killpg(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=60)
        if process.returncode == 0:  # on a fast machine the signal comes when the work is done
            assert len(list((tmp_path / str(seconds)).glob("a/*.png"))) == 100
        else:
            _check_stopped(process, said)


def test_while_python_itself_ends(tmp_path):
    """The work is done, and the exit code says so."""
    (tmp_path / "maps" / "a").mkdir(parents=True)
    np.save(tmp_path / "maps" / "a" / "0.npy", np.ones((2, 4, 4), np.float32))
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Late:\n"
        "    def __init__(self):\n"
        "        self.kill, self.pid, self.number = os.kill, os.getpid(), signal.SIGINT\n"
        "    def __del__(self):\n"
        "        self.kill(self.pid, self.number)\n"
        "sys.modules['late'] = Late()\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = _start(["render", tmp_path / "maps", "-o", tmp_path / "out"], PYTHONPATH=paths)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert len(list((tmp_path / "out").rglob("*.png"))) == 1


def test_a_script_that_is_captured(tmp_path):
    pytest.importorskip("torch")
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, time\nfrom pathlib import Path\n"
        "model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))\n"
        f"try:\n    model(torch.zeros(1, 3, 8, 8)); Path('ran').touch(); {_SLEEP}\n"
        "finally:\n    print('its own end', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "featscope", "run", "-o", "run", "--", str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path if p)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_until((tmp_path / "ran").exists)
    os.killpg(process.pid, signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "its own end\n"
    assert "Traceback" not in said
    assert "the script ended with 130, so the run is unfinished" in said
