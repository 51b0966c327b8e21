"""Executors: the same results, whoever works, and whoever dies."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import work_items
from conftest import pixels

from featscope.cli import main
from featscope.errors import BadOptionError, UnknownNameError
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.render.ranges import shared_bounds
from featscope.scale.executor import serial
from featscope.scale.parallel import executor_named
from featscope.store.reader import open_run


class Cluster:
    """A real Dask scheduler with workers, each a process of its own."""

    def __init__(self, folder, workers):
        pytest.importorskip("distributed", reason="needs Dask: pip install distributed")
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._log = open(folder / "log", "w")  # noqa: SIM115
        self._options = {"env": environment, "cwd": folder, "stderr": self._log}
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
        command += ["--no-dashboard", "--scheduler-file", str(folder / "scheduler.json")]
        self.processes = [subprocess.Popen(command, **self._options)]
        import json

        deadline = time.time() + 60
        said = folder / "scheduler.json"
        while not (said.exists() and said.read_text().endswith("}")) and time.time() < deadline:
            time.sleep(0.05)  # it is there before it is written
        self.address = json.loads(said.read_text())["address"]
        self.executor = self.address.replace("tcp:", "dask:")
        for _ in range(workers):
            self.add_worker()

    def add_worker(self):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny"]
        self.processes.append(subprocess.Popen([*command, "--no-dashboard"], **self._options))

    def wait_for(self, workers):
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)

    def close(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("dask"), workers=2)
    try:
        made.wait_for(2)
        yield made
    finally:
        made.close()


@pytest.fixture(params=["serial", "processes:2", "dask"])
def executor(request):
    if request.param == "dask":
        return executor_named(request.getfixturevalue("cluster").executor)
    return executor_named(request.param)


def test_every_item_once(executor):
    assert sorted(executor(work_items.double, range(50))) == [(i, 2 * i) for i in range(50)]
    assert list(executor(work_items.double, [])) == []


def test_an_error_costs_one_item(cluster):
    for name in ("processes:2", cluster.executor):
        results = dict(executor_named(name)(work_items.fail_on_three, range(10)))
        assert isinstance(results.pop(3), ValueError)
        assert results == {i: i for i in range(10) if i != 3}


def test_a_killed_process_costs_only_what_it_had(tmp_path):
    items = [(str(tmp_path), i) for i in range(40)]
    results = list(executor_named("processes:2")(work_items.die_once, items))
    assert sorted(number for _, number in results) == list(range(40))
    again = len(list(tmp_path.glob("seen_*"))) - 40
    assert 1 <= again <= 4, "only what was under way is done again"


def test_a_killed_worker_of_the_cluster_costs_only_what_it_had(tmp_path):
    own = Cluster(tmp_path, workers=2)
    try:
        own.wait_for(2)
        (tmp_path / "seen").mkdir()
        items = [(str(tmp_path / "seen"), i) for i in range(40)]
        results = list(executor_named(own.executor)(work_items.die_once, items))
        assert sorted(number for _, number in results) == list(range(40))
        assert [p.poll() for p in own.processes].count(None) == 2, "a scheduler and one worker are left"
        assert len(list((tmp_path / "seen").glob("seen_*"))) - 40 <= 12
    finally:
        own.close()


def test_an_item_that_always_kills_is_named_and_the_rest_is_done():
    results = dict(executor_named("processes:2")(work_items.die_always, range(20)))
    assert "died 3 times" in str(results.pop(3))
    assert results == {i: i for i in range(20) if i != 3}


def test_all_workers_work(tmp_path):
    items = [(tmp_path, number) for number in range(20)]
    assert len({pid for _, pid in executor_named("processes:2")(work_items.where, items)}) == 2


def test_where_no_process_is_forked_workers_are_started_anew(monkeypatch):
    """As on Windows, and on macOS by default."""
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setitem(sys.modules, "multiprocessing.forkserver", None)
    assert dict(executor_named("processes:2")(work_items.double, range(6))) == {i: 2 * i for i in range(6)}


@pytest.mark.parametrize("name", ["threads", "processes:0", "processes:x", "dask", "dask://nowhere", "dask://h:p", ""])
def test_unknown_names(name):
    with pytest.raises(UnknownNameError, match="no executor"):
        executor_named(name)


def test_no_scheduler(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("featscope.scale.parallel._CONNECT_SECONDS", 0.5)
    with pytest.raises(BadOptionError, match="no Dask scheduler answers at dask://127.0.0.1:9"):
        list(executor_named("dask://127.0.0.1:9")(work_items.double, [1]))


def test_a_scheduler_without_workers(tmp_path):
    own = Cluster(tmp_path, workers=0)
    try:
        with pytest.raises(BadOptionError, match="has no workers"):
            list(executor_named(own.executor)(work_items.double, [1]))
    finally:
        own.close()


@pytest.fixture
def folder(tmp_path, random):
    for name in ("a", "b"):
        (tmp_path / "maps" / name).mkdir(parents=True)
        for i in range(20):
            np.save(tmp_path / "maps" / name / f"{i}.npy", random.random((4, 6, 5), np.float32))
    return tmp_path / "maps"


def test_the_same_pictures_from_every_executor(executor, folder, tmp_path):
    run = open_run(folder)
    outcome = run_jobs(
        run.maps, plan_heat(run, run.maps, HeatOptions(), executor), tmp_path / "some", executor=executor
    )
    assert (outcome.pictures, outcome.errors) == (40, [])
    run_jobs(run.maps, plan_heat(run, run.maps, HeatOptions()), tmp_path / "expected")
    for path in (tmp_path / "expected").rglob("*.png"):
        assert (tmp_path / "some" / path.relative_to(tmp_path / "expected")).read_bytes() == path.read_bytes()


def test_a_second_run_draws_what_is_missing_or_outdated(executor, folder, tmp_path):
    from featscope.render.heat import HeatStyle

    run = open_run(folder)

    def draw(style=HeatStyle()):  # noqa: B008
        plan = plan_heat(run, run.maps, HeatOptions(style=style), executor)
        outcome = run_jobs(run.maps, plan, tmp_path / "out", executor=executor)
        return outcome.pictures, outcome.skipped

    assert draw() == (40, 0)
    assert draw() == (0, 40)
    (tmp_path / "out" / "a" / "3.png").unlink()
    (tmp_path / "out" / "a" / "4.png").write_bytes(b"cut off")
    np.save(folder / "b" / "7.npy", np.zeros((4, 6, 5), np.float32))
    assert draw() == (3, 37)
    assert (pixels(tmp_path / "out" / "b" / "7.png") == pixels(tmp_path / "out" / "b" / "7.png")[0, 0]).all()
    assert draw(style=HeatStyle(reduce="max")) == (40, 0)
    assert draw(style=HeatStyle(reduce="max", range="layer")) == (40, 0)


def test_the_command_on_a_cluster(cluster, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)  # the workers run elsewhere
    for expected in ("40 pictures of 40 maps", "0 pictures of 40 maps"):
        with pytest.raises(SystemExit) as stop:
            main(["heat", "maps", "--executor", cluster.executor])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out
    assert len(list((folder / "heat").rglob("*.png"))) == 40


@pytest.mark.parametrize("how", [None, MemoryError(), OverflowError("too large"), ValueError("strange")], ids=repr)
def test_a_file_that_nobody_can_draw_costs_itself_and_is_named(folder, tmp_path, how):
    """Whatever it is that goes wrong, also the end of its process; several files are one item of work."""
    run, plan = open_run(folder), work_items.FailsOn(["3", "11"], how)
    executor = executor_named("processes:2") if how is None else serial
    outcome = run_jobs(run.maps, plan, tmp_path / "out", executor=executor)
    bad = {str(folder / name / f"{number}.npy") for name in "ab" for number in (3, 11)}
    assert {path for path in bad if any(error.startswith(f"{path} ") for error in outcome.errors)} == bad
    assert len(outcome.errors) == 4
    assert {p.stem for p in (tmp_path / "out" / "a").iterdir()} == {str(i) for i in range(20)} - {"3", "11"}


@pytest.mark.parametrize("how", [None, MemoryError()], ids=repr)
def test_a_file_that_cannot_be_read_takes_no_other_out_of_the_shared_range(folder, how):
    executor = executor_named("processes:2") if how is None else serial
    run, plan = open_run(folder), work_items.FailsOn(["3"], how)
    expected = [np.load(m.path) for m in run.maps if m.path.stem != "3"]
    low, high = shared_bounds(run.maps, "run", plan.values, executor)["run"]
    assert (low, high) == (np.min(expected), np.max(expected))


def _children(folder):
    """The processes whose environment says that they belong to a test."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            ours = process.name.isdecimal() and f"WORK_OF={folder}\0".encode() in (process / "environ").read_bytes()
            if ours and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="who is left over is read from /proc")
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_workers_end_with_the_process_that_started_them(tmp_path, signal):
    script = f"import work_items; work_items.parent_of_workers({str(tmp_path)!r}, 2)"
    paths = os.pathsep.join([str(Path(work_items.__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "WORK_OF": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(_children(tmp_path)) > 2, "the workers work"
    parent.send_signal(getattr(__import__("signal"), signal))
    parent.wait()
    while _children(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _children(tmp_path) == []
