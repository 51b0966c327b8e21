"""Two commands that draw into one folder at the same time."""

import multiprocessing

import numpy as np
from conftest import pixels

from featscope.records import CapturedMap, RunInfo
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.store import files
from featscope.store.files import write_atomic
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

FILES = 60


def _draw(folder, output, start, results):
    run = open_run(folder)
    plan = plan_heat(run, run.maps, HeatOptions())
    start.wait(60)
    outcome = run_jobs(run.maps, plan, output)
    results.put((outcome.pictures + outcome.skipped, outcome.errors))


def test_two_drawings_into_one_folder_are_both_whole(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo())
    for batch in range(FILES):
        writer.put(CapturedMap("neck", "FPN", "", 0, 0, batch, [], "neck.fpn"), np.eye(8, dtype=np.float32)[None, None])
    writer.close()
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    both = [context.Process(target=_draw, args=(tmp_path / "run", tmp_path / "heat", start, results)) for _ in range(2)]
    for process in both:
        process.start()
    assert [results.get(timeout=120) for _ in both] == [(FILES, [])] * 2
    for process in both:
        process.join(60)
    drawn = sorted((tmp_path / "heat" / "neck.fpn").iterdir())
    assert len(drawn) == FILES, "nothing half written is left behind"
    assert len({pixels(path).tobytes() for path in drawn}) == 1


def test_one_who_writes_the_same_picture_meanwhile_is_no_error(tmp_path, monkeypatch):
    """By hand, whatever the machine's speed: another process writes it between our first byte and our last."""
    path, replace = tmp_path / "x.png", files.os.replace

    def interrupted(source, target):
        monkeypatch.setattr(files.os, "replace", replace)
        write_atomic(path, b"theirs", shared=True)
        assert path.read_bytes() == b"theirs"
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", interrupted)
    write_atomic(path, b"ours, which is longer", shared=True)
    assert path.read_bytes() == b"ours, which is longer"
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
