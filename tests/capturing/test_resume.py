"""A run that was stopped, killed, or met a full disk: nothing lost, nothing twice, nothing repeated."""

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch

import featscope
from featscope.errors import BadRunError, OutputError
from featscope.store.writer import RunWriter


@pytest.fixture(scope="module")
def server():
    """Starts processes that have torch loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["small_run"])
    return context


@pytest.fixture(scope="module")
def reference(tmp_path_factory, server):
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    _finish(server, folder)
    return folder


def _started(folder, seen=()):
    """Waits for the first sign of a capture; returns when that was."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        if folder.exists() and set(folder.iterdir()) - set(seen):
            return time.perf_counter()
        time.sleep(0.0005)
    raise AssertionError("no capture started")


def _kill_while_it_captures(server, folder, maps, seconds, resume=False):
    """Kill a capture so many seconds after so many maps were stored; it may be done by then."""
    before = {p: p.stat().st_mtime_ns for p in folder.glob("run.json")}
    process = server.Process(target=small_run.capture_all, args=(folder, resume))
    process.start()
    if not resume:
        _started(folder)
    while before and {p: p.stat().st_mtime_ns for p in before} == before:  # it says again what it is about
        time.sleep(0.0005)
    # By what is stored, not by the clock: how fast the machine is just now does not matter.
    while process.is_alive() and _lines(folder) < maps:
        time.sleep(0.0002)
    time.sleep(seconds)
    process.kill()
    process.join(10)


def _lines(folder):
    manifest = folder / "manifest-00000.jsonl"
    return manifest.read_bytes().count(b"\n") if manifest.exists() else 0


def _finish(server, folder, **options):
    process = server.Process(target=small_run.capture_all, args=(folder,), kwargs=options)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def _content(folder):
    """Every file of a run with its bytes; run.json without the times."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.name == "run.json":
            info = json.loads(data)
            assert info.pop("finished") >= info.pop("started") > ""
            data = info
        found[path.relative_to(folder).as_posix()] = data
    return found


def _problems_of_a_killed_run(folder):
    """What `check` says, but for what a kill leaves behind by its nature."""
    harmless = ("is unfinished", "has no line in the manifest", "was never finished")
    return [p for p in featscope.check_run(folder).problems if not any(text in p for text in harmless)]


@pytest.mark.slow
def test_killed_at_random_instants(server, reference, tmp_path, times):
    random = np.random.default_rng(0)
    kills = times(6, 100)
    stored = []
    for number in range(kills):
        folder = tmp_path / f"run{number}"
        _kill_while_it_captures(server, folder, random.integers(3 * small_run.BATCHES), random.uniform(0, 0.003))
        if (folder / "run.json").exists():
            assert _problems_of_a_killed_run(folder) == []
            stored.append(len(featscope.open_run(folder).maps))
            if number % 2:  # killed a second time, when it goes on
                again = random.integers(stored[-1], 3 * small_run.BATCHES + 1)
                _kill_while_it_captures(server, folder, again, random.uniform(0, 0.003), resume=True)
                assert _problems_of_a_killed_run(folder) == []
        else:
            assert not list(folder.rglob("*.npy")), "nothing may be stored before run.json is"
        _finish(server, folder, resume=True)
        assert _content(folder) == _content(reference)
        assert featscope.check_run(folder).problems == []
        shutil.rmtree(folder)
    print(f"{kills} kills; maps stored by then: {sorted(stored)} of {3 * small_run.BATCHES}")
    assert sum(0 < count < 3 * small_run.BATCHES for count in stored) >= kills / 2, "few kills came in the middle"


def test_a_run_that_is_whole_stays_as_it_is(server, reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.npy")}
    _finish(server, tmp_path / "run", resume=True)
    assert _content(tmp_path / "run") == _content(reference)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.npy")} == before


def test_without_samples_the_batches_are_counted(tmp_path):
    model, images = small_run.model(), torch.zeros(1, 3, 8, 8)
    with pytest.raises(KeyError), torch.no_grad(), featscope.capture(model, ["0"], to=tmp_path / "run"):
        for _ in range(3):
            model(images)
        raise KeyError
    ran = []
    model.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad(), featscope.capture(model, ["0"], to=tmp_path / "run", resume=True) as session:
        for _ in range(5):
            model(images)
    assert session.sink.maps_written == 3  # the last before the stop, which may not have been whole, and two more
    assert len(ran) == 5
    assert [m.record.batch for m in featscope.open_run(tmp_path / "run").maps] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ["0"]}, r'its layers is \["0","1","2"\], but now it is \["0"\]'),
        ({"policy": {"dtype": "float16"}}, r'its policy is \{\}, but now it is \{"dtype":"float16"\}'),
        ({"names": {"0": "first"}}, "its names is"),
        ({"world_size": 2, "rank": 0}, "its ranks is 1, but now it is 2"),
    ],
)
def test_another_run_is_not_continued(reference, tmp_path, changes, message):
    shutil.copytree(reference, tmp_path / "run")
    before = _content(tmp_path / "run")
    with pytest.raises(BadRunError, match=message):
        featscope.capture(small_run.model(), to=tmp_path / "run", resume=True, **changes)
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 9, 3), torch.nn.ReLU(), torch.nn.Conv2d(9, 16, 3))
    with pytest.raises(BadRunError, match="its parameters is"):
        featscope.capture(other, to=tmp_path / "run", resume=True)
    assert _content(tmp_path / "run") == before


def test_other_images_are_not_mixed_in(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    model = small_run.model()
    with pytest.raises(
        BadRunError, match="batch 0 of the run holds image_000, but now it would hold other"
    ), featscope.capture(model, to=tmp_path / "run", resume=True) as session:
        session.start_batch(0, ["other"])


def test_a_damaged_line_is_not_built_on(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    manifest = tmp_path / "run" / "manifest-00000.jsonl"
    manifest.write_bytes(b"{broken\n" + manifest.read_bytes())
    with pytest.raises(BadRunError, match="line 1 is damaged.*cannot be resumed"):
        featscope.capture(small_run.model(), to=tmp_path / "run", resume=True)


def test_two_at_once(tmp_path):
    """The second is refused; when the first is killed, its lock goes with it."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import small_run, featscope\n"
        "featscope.capture(small_run.model(), to=sys.argv[2]).__enter__(); print('started', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(Path(small_run.__file__).parent), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == "started\n"
            for resume in (False, True):
                with pytest.raises(BadRunError, match="another capture is writing"):
                    featscope.capture(small_run.model(), to=tmp_path / "run", resume=resume)
        finally:
            first.kill()
    with torch.no_grad(), featscope.capture(model := small_run.model(), to=tmp_path / "run", resume=True):
        model(torch.zeros(1, 3, 8, 8))
    assert featscope.open_run(tmp_path / "run").info.finished


# Disks that fail


def _let_it_write(session):
    """A real model is slower than the disk: what was captured is written before the next batch."""
    deadline = time.time() + 5
    while session is not None and session.sink.waiting and session.sink._error is None and time.time() < deadline:
        time.sleep(0.0005)


def _forwards(model, count, session=None):
    with torch.no_grad():
        for number in range(count):
            if session is not None:
                session.start_batch(number, [f"image_{number:03d}"])
            model(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(number)))
            _let_it_write(session)


def test_a_disk_that_fills_up(small_disk, tmp_path):
    model, folder = small_run.model(), small_disk / "run"
    reached = []
    with pytest.raises(
        OutputError, match=r"cannot write .*/run/.*: No space left on device; free the disk"
    ), featscope.capture(model, ["0"], to=folder) as session:
        model.register_forward_hook(lambda *_: reached.append(1))
        _forwards(model, 100, session)  # 13 MB
    assert 20 < len(reached) < 100, "the loop ends when the disk is full, not at its own end"
    assert _problems_of_a_killed_run(folder) == []
    before = len(featscope.open_run(folder).maps)
    assert before > 10
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)  # room is made
    with featscope.capture(model, ["0"], to=folder, resume=True) as session:
        _forwards(model, 100, session)
    with featscope.capture(model, ["0"], to=tmp_path / "whole") as session:
        _forwards(model, 100, session)
    assert _content(folder) == _content(tmp_path / "whole")
    assert featscope.check_run(folder).problems == []


def test_a_full_disk_may_leave_the_model_running(small_disk):
    model, reached = small_run.model(), []
    model.register_forward_hook(lambda *_: reached.append(1))
    with pytest.warns(RuntimeWarning, match="stopped capturing.*No space left"), featscope.capture(
        model, ["0"], to=small_disk / "run", on_error="warn"
    ) as session:
        _forwards(model, 100, session)
    assert len(reached) == 100
    assert not [m for m in model.modules() if m._forward_pre_hooks]
    assert _problems_of_a_killed_run(small_disk / "run") == []
    assert featscope.open_run(small_disk / "run").info.finished == ""


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_a_disk_that_is_full_in_the_first_batch_is_refused_at_its_end(small_disk, on_error):
    """With what the run would have taken and the policy that makes it fit; what was written is taken back."""
    wide = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in range(3)])
    images = torch.zeros(1, 3, 420, 420)  # 2 MB a map
    options = {"to": small_disk / "run", "on_error": on_error, "dataset_size": 1}
    refused = (
        r"the run would take 6\.4 MB more, but .* has [34]\.. MB free; the policy dtype='float16' reduces it to 3\.2 MB"
    )
    with pytest.warns(RuntimeWarning, match=refused) if on_error == "warn" else pytest.raises(
        OutputError, match=refused
    ), torch.no_grad(), featscope.capture(wide, **options) as session:
        session.start_batch(0, ["a"])
        wide[0].register_forward_hook(lambda *_: _let_it_write(session))
        wide[1].register_forward_hook(lambda *_: _let_it_write(session))
        wide(images)
    assert not (small_disk / "run").exists()


def test_a_disk_that_is_full_in_the_first_batch_where_nobody_knows_how_many_come(small_disk):
    """What it took stays, readable."""
    wide = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in range(3)])
    with pytest.raises(OutputError, match="No space left"), torch.no_grad(), featscope.capture(
        wide, to=small_disk / "run"
    ) as session:
        wide[0].register_forward_hook(lambda *_: _let_it_write(session))
        wide(torch.zeros(1, 3, 420, 420))
        wide(torch.zeros(1, 3, 420, 420))
    assert len(featscope.open_run(small_disk / "run").maps) >= 1


# Locks


def test_a_capture_that_was_never_entered_locks_and_leaves_nothing(tmp_path):
    model = small_run.model()
    waiting = featscope.capture(model, to=tmp_path / "run")
    assert list(tmp_path.glob("run/*")) == []
    with torch.no_grad(), featscope.capture(model, to=tmp_path / "run"):
        model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(BadRunError, match="holds a run already"):
        waiting.__enter__()
    before = _content(tmp_path / "run")
    featscope.capture(model, to=tmp_path / "run", resume=True)
    assert _content(tmp_path / "run") == before


def test_a_resume_that_was_never_entered_cuts_nothing_off(tmp_path):
    model = small_run.model()
    with pytest.raises(KeyError), torch.no_grad(), featscope.capture(model, to=tmp_path / "run"):
        model(torch.zeros(1, 3, 8, 8))
        raise KeyError
    lines = (tmp_path / "run" / "manifest-00000.jsonl").read_bytes()
    waiting = featscope.capture(model, to=tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "manifest-00000.jsonl").read_bytes() == lines
    with torch.no_grad(), waiting:
        model(torch.zeros(1, 3, 8, 8))
    assert featscope.check_run(tmp_path / "run").problems == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_the_lock_ends_with_the_capture_though_a_forked_process_lives_on(tmp_path):
    """As the workers of a data loader do."""
    model, images = small_run.model(), torch.zeros(1, 3, 8, 8)
    ends = os.pipe()
    with torch.no_grad(), featscope.capture(model, to=tmp_path / "run"):
        model(images)
        child = os.fork()
        if not child:
            os.close(ends[1])
            os.read(ends[0], 1)  # until the parent closes its end
            os._exit(0)
        with pytest.raises(BadRunError, match="another capture is writing"):
            featscope.capture(model, to=tmp_path / "run", resume=True)
    try:
        with torch.no_grad(), featscope.capture(model, to=tmp_path / "run", resume=True):
            model(images)
    finally:
        os.close(ends[1])
        os.waitpid(child, 0)
        os.close(ends[0])
    assert featscope.check_run(tmp_path / "run").problems == []


@pytest.mark.parametrize("which", ["array", "line"])
def test_a_disk_that_fails_in_the_middle_of_a_write(tmp_path, monkeypatch, which):
    """Without a mount: the system writes half of what it is given, and then says that the disk is full."""
    real, written = os.write, []

    def write(descriptor, data):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        if target.endswith(".part" if which == "array" else ".jsonl") and "run.json" not in target:
            written.append(target)
            if len(written) == 20:
                return real(descriptor, bytes(data)[: len(data) // 2])
            if len(written) > 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    model = small_run.model()
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OutputError, match="No space left on device"), featscope.capture(
        model, ["0"], to=tmp_path / "run"
    ) as session:
        _forwards(model, 100, session)
    monkeypatch.undo()
    assert _problems_of_a_killed_run(tmp_path / "run") == []
    for name in ("manifest-00000.jsonl", "samples-00000.jsonl"):
        assert (tmp_path / "run" / name).read_bytes().endswith(b"}\n"), "half a line is taken back"
    with featscope.capture(model, ["0"], to=tmp_path / "run", resume=True) as session:
        _forwards(model, 30, session)
    assert featscope.check_run(tmp_path / "run").problems == []
    assert len(featscope.open_run(tmp_path / "run").maps) == 30


def _until_refused(model, session, folder):
    """How many batches run before the error arrives; each waits until the writer had time to meet it."""
    for number in range(50):
        session.start_batch(number, [str(number)])
        with torch.no_grad():
            model(torch.zeros(1, 3, 8, 8))
        _let_it_write(session)
    raise AssertionError("no error arrived")


@pytest.mark.parametrize("how", ["folder deleted", "run deleted", "manifest deleted", "permission taken away"])
def test_what_happens_to_the_folder_is_said_at_the_next_batch(tmp_path, monkeypatch, how):
    model, folder = small_run.model(), tmp_path / "run"
    batches = []
    model.register_forward_pre_hook(lambda *_: batches.append(1))

    def harm():
        if how == "folder deleted":
            shutil.rmtree(folder / "0.conv2d")
        elif how == "run deleted":
            shutil.rmtree(folder)
        elif how == "manifest deleted":
            (folder / "manifest-00000.jsonl").unlink()
        else:  # root may write everything, so it is told not to
            real = os.open

            def refuse(path, *arguments, **named):
                if str(path).endswith(".part"):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
                return real(path, *arguments, **named)

            monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(OutputError, match=str(folder)), featscope.capture(model, ["0"], to=folder) as session:
        model.register_forward_hook(lambda *_: (_let_it_write(session), harm()) if len(batches) == 3 else None)
        _until_refused(model, session, folder)
    assert len(batches) <= 5, "the error arrives at the next batch, not at the end"


def test_a_long_run_stays_flat(tmp_path, times):
    """48 hours on paper: files, threads and memory over many small batches."""
    batches = times(1000, 20_000)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval()
    image = torch.zeros(1, 3, 4, 4)
    readings = []
    with torch.no_grad(), featscope.capture(model, to=tmp_path / "run") as session:
        for number in range(batches):
            session.start_batch(number, [str(number)])
            model(image)
            session.describe([featscope.records.Sample(str(number))])
            if number % (batches // 10) == batches // 10 - 1:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                threads = len(os.listdir("/proc/self/task"))
                readings.append((len(os.listdir("/proc/self/fd")), threads, pages * os.sysconf("SC_PAGE_SIZE") >> 20))
    print(f"{batches} batches: files, threads, resident MB: first {readings[0]}, last {readings[-1]}")
    first, last = readings[1], readings[-1]
    assert last[0] <= first[0] + 1
    assert last[1] <= first[1]
    assert last[2] <= first[2] + 8
    assert len(featscope.open_run(tmp_path / "run").maps) == batches


def test_two_ranks_write_what_one_writes(reference, tmp_path):
    """Each rank by itself, without a word between them."""
    for rank in (0, 1):
        small_run.capture_all(tmp_path / "run", rank=rank, world_size=2)
    one, two = _content(reference), _content(tmp_path / "run")
    arrays = {name: data for name, data in one.items() if name.endswith((".npy", ".jpg"))}
    assert {name: data for name, data in two.items() if name.endswith((".npy", ".jpg"))} == arrays
    for kind in ("manifest", "samples"):
        lines = [two[f"{kind}-{rank:05d}.jsonl"].splitlines() for rank in (0, 1)]
        assert sorted(lines[0] + lines[1]) == sorted(one[f"{kind}-00000.jsonl"].splitlines())
    assert featscope.check_run(tmp_path / "run").problems == []


def test_a_run_is_unfinished_until_all_ranks_are(tmp_path):
    small_run.capture_all(tmp_path / "run", rank=0, world_size=2)
    assert any("unfinished" in problem for problem in featscope.check_run(tmp_path / "run").problems)
    writer = RunWriter(tmp_path / "run", featscope.open_run(tmp_path / "run").info, rank=1)
    assert any("unfinished" in problem for problem in featscope.check_run(tmp_path / "run").problems)
    writer.close()
    assert featscope.check_run(tmp_path / "run").problems == []
