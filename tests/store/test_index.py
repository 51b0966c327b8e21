"""The table over a run's lines: a cache that may vanish, grow old or be damaged."""

import gc
import json
import os
import sqlite3
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from featscope.records import MapRecord, Sample
from featscope.store import index as index_module
from featscope.store.index import INDEX
from featscope.store.reader import open_run


def write_lines(folder, images, levels=5, layers=2):
    """A run of many lines and no arrays."""
    folder.mkdir()
    (folder / "run.json").write_text('{"finished": "2026-01-01T00:00:00Z"}')
    with open(folder / "manifest-00000.jsonl", "w") as maps, open(folder / "samples-00000.jsonl", "w") as samples:
        for image in range(images):
            samples.write(json.dumps({"id": f"P{image:06d}", "batch": image}) + "\n")
            for layer in range(layers):
                for level in range(levels):
                    path = f"layer{layer}.cls/batch_{image}_layer_{level}.npy"
                    maps.write(
                        f'{{"path":"{path}","layer":"layer{layer}","cls":"Cls","field":"","level":{level},"call":0,'
                        f'"batch":{image},"samples":["P{image:06d}"],"shape":[1,256,128,128],"dtype":"<f4",'
                        f'"bytes":16777216,"checksum":1234567890,"stride":[8.0,8.0]}}\n'
                    )
    return folder


@pytest.fixture
def kept(monkeypatch):
    """Every table is kept, also a small one's."""
    monkeypatch.setattr(index_module, "_KEPT_FROM_BYTES", 0)


@pytest.fixture
def large(tmp_path):
    return write_lines(tmp_path / "run", images=60)


@pytest.mark.parametrize("keep", [True, False])
def test_select(large, monkeypatch, keep):
    monkeypatch.setattr(index_module, "_KEPT_FROM_BYTES", 0 if keep else 1 << 40)
    for _ in range(2):  # the second time from the table, if it is kept
        run = open_run(large)
        assert (large / INDEX).exists() == keep
        assert len(run.maps) == 600
        (found,) = run.select(layer="layer1", level=3, sample="P000042")
        assert found.record.path == "layer1.cls/batch_42_layer_3.npy"
        assert found.samples == (Sample("P000042", batch=42),)
        assert [m.record.level for m in run.select(layer="layer0", sample="P000007")] == [0, 1, 2, 3, 4]
        assert len(run.select(sample="P00000*")) == 100
        assert len(run.select(["layer0*"], level=2)) == 60
        assert run.select(layer="layer9") == run.select(sample="nobody") == run.select(level=77) == []
        assert [m.record.path for m in run.maps[-2:]] == [f"layer1.cls/batch_59_layer_{level}.npy" for level in (3, 4)]
        assert run.maps[0] == next(iter(run.maps))
        assert run.folders() == {"layer0.cls": 300, "layer1.cls": 300}
        assert list(run.samples)[:2] == ["P000000", "P000001"]
        assert len(run.samples) == 60
        with pytest.raises(IndexError):
            run.maps[600]
        with pytest.raises(KeyError):
            run.samples["nobody"]


def test_all_maps_come_in_natural_order(large):
    run = open_run(large)
    places = [(m.record.layer, m.record.batch, m.record.level) for m in run.maps]
    assert places == sorted(places)


@pytest.mark.parametrize("change", ["grown", "touched", "as long", "damaged", "removed", "old"])
def test_the_table_is_made_anew(large, kept, change):
    assert len(open_run(large).maps) == 600
    manifest = large / "manifest-00000.jsonl"
    if change == "grown":
        line = manifest.read_text().splitlines()[-1].replace("batch_59", "batch_60").replace('"batch":59', '"batch":60')
        with open(manifest, "a") as file:
            file.write(line + "\n")
    elif change == "touched":
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(True)[1:]))
    elif change == "as long":  # other lines in as many bytes: the file's time tells
        state = manifest.stat()
        manifest.write_bytes(manifest.read_bytes().replace(b'"layer":"layer1"', b'"layer":"other1"'))
        os.utime(manifest, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    elif change == "damaged":
        (large / INDEX).write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    elif change == "removed":
        (large / INDEX).unlink()
    else:
        (large / INDEX).write_bytes((large / INDEX).read_bytes()[:3000])
    for _ in range(2):
        run = open_run(large)
        assert len(run.maps) == {"grown": 601, "touched": 599}.get(change, 600)
        assert len(run.select(layer="other1")) == (300 if change == "as long" else 0)


def test_an_id_that_comes_twice_is_that_of_its_own_batch(large):
    """Runs from elsewhere may call two samples alike: each map has the sample of its batch."""
    samples = large / "samples-00000.jsonl"
    samples.write_text(samples.read_text().replace("P000007", "P000042"))
    manifest = large / "manifest-00000.jsonl"
    manifest.write_text(manifest.read_text().replace("P000007", "P000042"))
    found = open_run(large).select(layer="layer0", level=0, sample="P000042")
    assert [(m.record.batch, m.samples[0].batch) for m in found] == [(7, 7), (42, 42)]
    assert open_run(large).samples["P000042"].batch == 42, "by its id alone it is the last of them"


def test_a_folder_that_cannot_be_written_is_read_all_the_same(large, kept, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError

    monkeypatch.setattr(index_module.os, "replace", refuse)
    assert len(open_run(large).maps) == 600
    assert sorted(p.name for p in large.iterdir()) == ["manifest-00000.jsonl", "run.json", "samples-00000.jsonl"]


def test_a_table_that_lies_reads_nothing_outside(large, kept):
    """Whoever can write the table can send a reader to other bytes of the manifest, and no further."""
    import sqlite3
    from contextlib import closing

    open_run(large)
    with closing(sqlite3.connect(large / INDEX)) as db, db:
        db.execute("UPDATE maps SET start = start + 7")
    from featscope.errors import BadRunError

    with pytest.raises(BadRunError, match="open the run again"):
        list(open_run(large).maps)


def test_an_answer_costs_what_it_holds(tmp_path, times):
    """Of a run of many lines only those asked for are in memory."""
    images = times(2_000, 100_000)
    folder = write_lines(tmp_path / "run", images)
    start = time.perf_counter()
    open_run(folder)
    indexing = time.perf_counter() - start
    tracemalloc.start()
    start = time.perf_counter()
    run = open_run(folder)
    found = run.select(layer="layer1", level=2, sample=f"P{images // 2:06d}")
    took = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [m.record.batch for m in found] == [images // 2]
    assert isinstance(found[0].record, MapRecord)
    assert peak < 2 << 20
    print(
        f"{10 * images} lines: indexed in {indexing:.1f} s, then opened and asked in {took * 1e3:.0f} ms, {peak >> 10} KB"
    )


def test_what_killed_processes_left_half_made_is_removed(large, kept):
    old, new = large / "index.sqlite.7.part", large / "index.sqlite.8.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert len(open_run(large).maps) > 0
    assert not old.exists()
    assert new.exists(), "another process may be making it"


@pytest.mark.parametrize("keep", [True, False])
def test_another_thread_may_collect_it(large, monkeypatch, keep):
    monkeypatch.setattr(index_module, "_KEPT_FROM_BYTES", 0 if keep else 1 << 40)
    held = [open_run(large).index]
    database = held[0]._db
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (held.clear(), gc.collect())).result()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")


def test_an_index_that_cannot_be_built_leaves_no_connection(run, monkeypatch):
    opened = []
    connect = sqlite3.connect

    def noted(*args, **more):
        opened.append(connect(*args, **more))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    monkeypatch.setattr(index_module.RunIndex, "_build", lambda *args: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        index_module.RunIndex(run)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")
