"""SIGKILL in the middle of each kind of work: no worker is left, nothing half is taken for whole, a second call goes on.

For captures themselves see tests/capturing/test_resume.py. `--full` kills a hundred times each.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import killed
import msgspec
import numpy as np
import pytest
import small_run
from PIL import Image

import featscope
from featscope.records import MapRecord, RunInfo
from featscope.store.index import INDEX
from featscope.store.writer import RunWriter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="who is left over is read from /proc"),
]


@pytest.fixture(scope="module")
def server():
    """Starts processes that have torch loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed"])
    return context


def _left_over(session):
    """The processes of a session that still live."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdecimal() else None
        except OSError:
            continue
        if state and int(state[3]) == session and state[0] not in "ZX":
            found.append(int(folder.name))
    return found


def _seconds_until_alone(session):
    start = time.perf_counter()
    while _left_over(session):
        if time.perf_counter() - start > 20:
            left = _left_over(session)
            for process in left:
                os.kill(process, 9)
            raise AssertionError(f"{left} of {session} outlive it")
        time.sleep(0.005)
    return time.perf_counter() - start


class Killer:
    """Kills work when so much of it is done, until that was often enough in its middle.

    start: begins it, and gives what has `pid`, `kill()` and `is_alive()`. done: how much of it lies there.
    """

    def __init__(self, start, done, all_of_it, pause):
        self.start, self.done, self.all, self.pause = start, done, all_of_it, pause
        self.random = np.random.default_rng(0)
        self.at, self.seconds = [], []

    def kill(self):
        """Kill once; returns whether it was in the middle."""
        wanted = self.random.integers(0, self.all)
        work = self.start()
        while self.done() < wanted and work.is_alive():
            time.sleep(0.0005)
        time.sleep(self.random.uniform(0, self.pause))
        middle = work.is_alive()
        work.kill()
        work.join()
        self.seconds.append(_seconds_until_alone(work.pid))
        return middle and 0 < self.done() < self.all

    def times(self, count, check):
        """Kill until `count` kills came in the middle, and check what is there after every one."""
        for _ in range(4 * count):
            if self.kill():
                self.at.append(self.done())
            check()
            if len(self.at) == count:
                break
        print(
            f"{len(self.at)} kills in the middle of {len(self.seconds)}, when {min(self.at)} to {max(self.at)} of "
            f"{self.all} were done; the last process was gone after {max(self.seconds):.2f} s at most"
        )
        assert len(self.at) == count
        assert max(self.seconds) < (20 if os.environ.get("CI") else 5)  # a machine under load is slow to end them


class Process(subprocess.Popen):
    """A command from its very start, as a user types it."""

    def __init__(self, arguments, log):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "featscope", *arguments]
        with open(log, "w") as out:
            super().__init__(command, env=environment, stdout=out, stderr=out, start_new_session=True)

    def is_alive(self):
        return self.poll() is None

    def join(self):
        self.wait()


def _pictures(folder):
    """The bytes of all pictures and arrays, by name; each can be read whole."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".npy")):
        found[path.relative_to(folder).as_posix()] = path.read_bytes()
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
        else:
            np.load(path)
    return found


def _count(folder, suffix):
    return sum(1 for _ in folder.rglob(f"*{suffix}"))


@pytest.mark.parametrize("verb", ["heat", "render"])
def test_drawing(verb, tmp_path, times):
    random = np.random.default_rng(0)
    for layer in ("a", "b"):
        (tmp_path / "maps" / layer).mkdir(parents=True)
        for number in range(60):
            array = random.random((32, 48, 48), np.float32)
            np.save(tmp_path / "maps" / layer / f"batch_{number}_layer_0.npy", array)
    options = ["--executor", "processes:2", *(["--scale", "4"] if verb == "render" else ["-r", "pca"])]

    def draw(output):
        return Process([verb, str(tmp_path / "maps"), "-o", str(output), *options], tmp_path / "log")

    assert draw(tmp_path / "whole").wait() == 0, (tmp_path / "log").read_text()
    whole, out = _pictures(tmp_path / "whole"), tmp_path / "out"

    def check():
        half = _pictures(out)
        assert half.items() <= whole.items(), "what is there is whole and right"
        if len(killer.at) % 5 == 1:  # not each time, as it takes longer than the kill
            assert draw(out).wait() == 0, (tmp_path / "log").read_text()
            assert _pictures(out) == whole
        shutil.rmtree(out, ignore_errors=True)

    killer = Killer(lambda: draw(out), lambda: _count(out, ".png"), len(whole), 0.02)
    killer.times(times(2, 100), check)


def test_explaining(server, tmp_path, times):
    pytest.importorskip("safetensors", reason="the demo's weights: pip install safetensors")
    from featscope.demo.scenes import draw_scene

    (tmp_path / "scenes").mkdir()
    for seed in range(4):
        Image.fromarray(draw_scene(seed).image).save(tmp_path / "scenes" / f"scene_{seed}.png")

    def explain(output):
        arguments = ["explain", "demo", "-i", str(tmp_path / "scenes"), "-o", str(output), "--top", "3"]
        process = server.Process(target=killed.command, args=(arguments, str(tmp_path / "log")))
        process.start()
        return process

    first = explain(tmp_path / "whole")
    first.join()
    assert first.exitcode == 0, (tmp_path / "log").read_text()
    whole, out = _pictures(tmp_path / "whole"), tmp_path / "out"

    def check():
        assert _pictures(out).items() <= whole.items()
        if len(killer.at) % 5 == 1:
            again = explain(out)
            again.join()
            assert again.exitcode == 0, (tmp_path / "log").read_text()
            assert _pictures(out) == whole
        shutil.rmtree(out, ignore_errors=True)

    killer = Killer(lambda: explain(out), lambda: _count(out, ".png"), _count(tmp_path / "whole", ".png"), 0.02)
    killer.times(times(2, 100), check)


def test_a_script_that_is_captured(server, tmp_path, times):
    (tmp_path / "script.py").write_text(killed.SCRIPT)

    def run(output):
        arguments = ["run", "--resume", "-o", str(output), "--", str(tmp_path / "script.py")]
        process = server.Process(target=killed.command, args=(arguments, str(tmp_path / "log")))
        process.start()
        return process

    first = run(tmp_path / "whole")
    first.join()
    assert first.exitcode == 0, (tmp_path / "log").read_text()
    whole, out = _pictures(tmp_path / "whole"), tmp_path / "out"
    assert len(whole) == 3 * small_run.BATCHES

    def lines():
        manifest = out / "manifest-00000.jsonl"
        return manifest.read_bytes().count(b"\n") if manifest.exists() else 0

    def check():
        assert _pictures(out).items() <= whole.items()
        if (out / "run.json").exists():
            opened = featscope.open_run(out)
            assert opened.problems == ()
            assert len(opened.maps) == lines()
            assert opened.info.finished or any("is unfinished" in text for text in featscope.check_run(out).problems)
        again = run(out)
        again.join()
        assert again.exitcode == 0, (tmp_path / "log").read_text()
        assert _pictures(out) == whole
        assert featscope.check_run(out).problems == []
        shutil.rmtree(out)

    killer = Killer(lambda: run(out), lines, len(whole), 0.003)
    killer.times(times(3, 100), check)


def test_the_index(server, tmp_path, times):
    folder, count = tmp_path / "run", 20_000
    RunWriter(folder, RunInfo(model="Toy")).close()
    record = MapRecord("n/x.npy", "n", "N", "", 0, 0, 0, ["a"], [1, 1, 1, 1], "<f4", 4, 0, axes=["sample"] * 4)
    with open(folder / "manifest-00000.jsonl", "wb") as lines:
        for number in range(count):
            one = msgspec.structs.replace(record, path=f"n/batch_{number}_layer_0.npy", batch=number)
            lines.write(msgspec.json.encode(one) + b"\n")
    assert json.loads((folder / "run.json").read_text())["finished"]

    def size():
        return sum(path.stat().st_size for path in folder.glob(f"{INDEX}.*") if path.exists()) // 4096

    def start():
        process = server.Process(target=killed.index, args=(str(folder), ""))
        process.start()
        return process

    assert len(featscope.open_run(folder).maps) == count
    pages = (folder / INDEX).stat().st_size // 4096
    (folder / INDEX).unlink()

    def check():
        assert len(featscope.open_run(folder).maps) == count
        assert featscope.open_run(folder).maps[count - 1].record.batch == count - 1
        for path in folder.glob(f"{INDEX}*"):
            path.unlink()

    killer = Killer(start, size, pages, 0.003)
    killer.times(times(5, 100), check)
