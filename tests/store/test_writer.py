import json
import threading

import numpy as np
import pytest

from featscope.errors import BadRunError, OutputError
from featscope.records import CapturedMap, RunInfo, Sample
from featscope.store.check import check_run
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter


def _map(level=0, folder="neck.fpn", batch=0):
    return CapturedMap("neck", "FPN", "", level, 0, batch, ["a"], folder)


def test_what_is_read_is_what_was_put(tmp_path, random):
    arrays = [random.standard_normal((1, 3, 4, 5)).astype(t) for t in ("f4", "f2", "f8", "i1")]
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    writer.put_sample(Sample("a"))
    for level, array in enumerate(arrays):
        writer.put(_map(level), array)
    writer.close()
    run = open_run(tmp_path / "run")
    assert run.info.finished >= run.info.started > ""
    for stored, array in zip(run.maps, arrays):
        np.testing.assert_array_equal(stored.load(), array)
        assert stored.load().dtype == array.dtype
        np.testing.assert_array_equal(np.load(stored.path), array)
    assert check_run(tmp_path / "run").problems == []


def test_the_queue_is_bounded(tmp_path, monkeypatch):
    gate, most = threading.Event(), []
    writer = RunWriter(tmp_path / "run", RunInfo(), queue_bytes=1000)
    write = writer._write_map

    def slow(captured, array):
        gate.wait(5)
        most.append(writer._waiting)
        write(captured, array)

    monkeypatch.setattr(writer, "_write_map", slow)

    def fill():
        for level in range(20):
            writer.put(_map(level), np.zeros((1, 1, 10, 10), np.float32))  # 400 bytes

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "the caller must wait while the queue is full"
    gate.set()
    thread.join(10)
    writer.close()
    assert max(most) <= 1000
    assert writer.maps_written == 20


def test_a_write_error_reaches_the_caller(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    (tmp_path / "run" / "neck.fpn").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match=r"neck\.fpn"):
        for level in range(1000):
            writer.put(_map(level), np.zeros((1, 1, 2, 2)))
        writer.close()
    assert open_run(tmp_path / "run").info.finished == ""


def test_a_second_run_in_the_same_folder_is_refused(run):
    before = sorted(p.name for p in run.rglob("*"))
    with pytest.raises(BadRunError, match="holds a run already"):
        RunWriter(run, RunInfo())
    assert sorted(p.name for p in run.rglob("*")) == before


def test_a_run_that_was_stopped_is_readable_and_says_so(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    writer.put_sample(Sample("a"))
    writer.put(_map(), np.zeros((1, 1, 2, 2)))
    writer.close(finished=False)
    with open(tmp_path / "run" / "manifest-00000.jsonl", "a") as file:
        file.write('{"path": "neck.fpn/batch_0_lay')  # killed in the middle of a line
    assert len(open_run(tmp_path / "run").maps) == 1
    assert any("unfinished" in p for p in check_run(tmp_path / "run").problems)


def test_nothing_is_visible_before_it_is_whole(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    writer.put(_map(), np.zeros((1, 64, 200, 200), np.float32))
    writer.close()
    lines = (tmp_path / "run" / "manifest-00000.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["bytes"] == 64 * 200 * 200 * 4
    assert not list((tmp_path / "run").rglob("*.part"))


def test_two_ranks_share_a_folder(tmp_path):
    writers = [RunWriter(tmp_path / "run", RunInfo(), rank=rank) for rank in (0, 1)]
    for rank, writer in enumerate(writers):
        writer.put_sample(Sample("a"))
        writer.put(_map(batch=rank), np.full((1, 1, 2, 2), rank))
    for writer in writers:
        writer.close()
    assert [m.path.name for m in open_run(tmp_path / "run").maps] == ["batch_0_layer_0.npy", "batch_1_layer_0.npy"]


def test_a_run_is_finished_by_its_end_and_by_nothing_else(tmp_path):
    """Not by what the info says that it is begun with, as one that was read from another run."""
    folder = tmp_path / "run"
    writer = RunWriter(folder, RunInfo(model="Toy", finished="2026-01-01T00:00:00Z"))
    writer.begin()
    assert open_run(folder).info.finished == ""
    writer.close(finished=False)
    assert open_run(folder).info.finished == ""
    again = RunWriter(folder, RunInfo(model="Toy", finished="2026-01-01T00:00:00Z"), resume=True)
    again.begin()
    assert open_run(folder).info.finished == ""
    again.put(_map(), np.zeros((1, 1, 2, 2)))
    again.close()
    finished = open_run(folder).info.finished
    assert finished > "2026-01-01T00:00:00Z"
    # One that was whole stays so, also where the process that looks at it again is killed.
    third = RunWriter(folder, RunInfo(model="Toy"), resume=True)
    third.begin()
    assert open_run(folder).info.finished == finished
    third.close(finished=False)
    assert open_run(folder).info.finished == finished
