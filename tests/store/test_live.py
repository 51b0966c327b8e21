"""A run that is read, listed and drawn while it is written, and one that two want to write."""

import os
import threading

import numpy as np
import pytest

from featscope.errors import BadRunError
from featscope.records import CapturedMap, Geometry, RunInfo, Sample
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.store import index as index_module
from featscope.store.check import check_run
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

BATCHES = 120


def _write(folder, rest=lambda batch: None):
    writer = RunWriter(folder, RunInfo(model="Toy"))
    for batch in range(BATCHES):
        geometry = Geometry((16, 16), (16, 16), (16, 16))
        for level in (0, 1):
            captured = CapturedMap("neck", "FPN", "", level, 0, batch, [f"s{batch}"], "neck.fpn")
            writer.put(captured, np.full((1, 3, 8, 8), batch, np.float32))
        writer.put_sample(Sample(f"s{batch}", batch=batch, geometry=geometry), np.zeros((16, 16, 3), np.uint8))
        rest(batch)
    writer.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_is_read_while_it_is_written(tmp_path, monkeypatch, kept):
    """Each look sees whole maps only, no fewer than the one before, and nothing wrong."""
    monkeypatch.setattr(index_module, "_KEPT_FROM_BYTES", 0 if kept else 1 << 40)
    folder, resting, looked = tmp_path / "run", threading.Semaphore(0), threading.Semaphore(0)

    def rest(batch):
        if batch % 10 == 9:  # until there was a look, however fast the machine is
            resting.release()
            looked.acquire(timeout=20)

    thread = threading.Thread(target=_write, args=(folder, rest))
    thread.start()
    try:
        seen, states = [], set()
        ended = False
        while not ended:
            ended = not thread.is_alive()  # and one look more
            rests = resting.acquire(blocking=False)
            if (folder / "run.json").exists():
                run = open_run(folder)
                states.add(bool(run.info.finished))
                assert run.problems == ()
                maps = list(run.maps)
                seen.append(len(maps))
                for stored in maps[-4:]:
                    assert np.unique(stored.load()).tolist() == [stored.record.batch]
                    assert [sample.id for sample in stored.samples] == [f"s{stored.record.batch}"]
                if len(maps) > 20 and len(seen) % 4 == 0:
                    outcome = run_jobs(
                        maps[-4:], plan_heat(run, maps[-4:], HeatOptions(overlay=False)), tmp_path / "heat"
                    )
                    assert (outcome.errors, outcome.pictures + outcome.skipped) == ([], 4)
            if rests:
                looked.release()
    finally:
        thread.join()
    assert seen == sorted(seen)
    assert max(seen) == 2 * BATCHES
    assert len(set(seen)) > 5
    assert states == {False, True}
    assert check_run(folder).problems == []


def test_one_run_has_one_writer_by_whichever_path(run, tmp_path):
    """The second is refused before it changes anything, and may go on where the first has ended."""
    if os.name == "nt":
        pytest.skip("links need rights on Windows")
    os.symlink(run, tmp_path / "link")
    before = (run / "manifest-00000.jsonl").read_bytes()
    first = RunWriter(run, RunInfo(model="Toy", classes=["ship"]), resume=True)
    first.begin()
    for folder in (run, tmp_path / "link", run / ".." / "run"):
        for resume in (True, False):
            with pytest.raises(BadRunError, match="another capture is writing to"):
                RunWriter(folder, RunInfo(model="Toy", classes=["ship"]), resume=resume)
    second = RunWriter(run, RunInfo(model="Toy", classes=["ship"]), rank=1)  # another rank's files are its own
    second.close()
    first.close()
    assert (run / "manifest-00000.jsonl").read_bytes() == before
    RunWriter(tmp_path / "link", RunInfo(model="Toy", classes=["ship"]), resume=True).close()
