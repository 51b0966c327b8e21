import os

import numpy as np
import pytest

from featscope.errors import BadArrayError, BadRunError
from featscope.store.maps import as_batch
from featscope.store.reader import open_run


def test_a_bare_folder_of_subfolders(tmp_path):
    shapes = {"neck.fpn": (2, 3, 4, 5), "head": (3, 4, 5), "one": (4, 5)}
    for name, shape in shapes.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "batch_0_layer_10.npy", np.zeros(shape))
        np.save(tmp_path / name / "batch_0_layer_2.npy", np.zeros(shape))
    run = open_run(tmp_path)
    assert [m.path.name for m in run.maps[:2]] == ["batch_0_layer_2.npy", "batch_0_layer_10.npy"]
    assert {m.folder: m.load().shape for m in run.maps} == {
        "head": (1, 3, 4, 5),
        "neck.fpn": (2, 3, 4, 5),
        "one": (1, 1, 4, 5),
    }


def test_pictures_are_not_maps(run):
    (run / "heat").mkdir()
    np.save(run / "heat" / "x.npy", np.zeros((2, 2)))
    assert len(open_run(run).maps) == 2


@pytest.mark.parametrize("shape", [(), (3,), (1, 1, 1, 1, 1, 1), (0, 3, 3), (1, 0, 2, 2)])
def test_shapes_that_are_no_map(shape):
    with pytest.raises(BadArrayError, match="x.npy"):
        as_batch(np.zeros(shape), "x.npy")


@pytest.mark.parametrize("dtype", ["c8", "U3", "M8[s]", "V4"])
def test_dtypes_that_are_no_map(dtype):
    with pytest.raises(BadArrayError, match="real numbers"):
        as_batch(np.zeros((2, 2), dtype), "x.npy")


def test_folders_that_are_no_run(tmp_path):
    with pytest.raises(BadRunError, match="does not exist"):
        open_run(tmp_path / "missing")
    with pytest.raises(BadRunError, match=r"no \.npy file"):
        open_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRunError, match="is not a folder"):
        open_run(tmp_path / "file")


def test_damaged_lines_are_reported_and_the_rest_is_read(run):
    manifest = run / "manifest-00000.jsonl"
    lines = manifest.read_bytes().splitlines()
    hostile = lines[1].replace(b"neck.fpn/batch_0_layer_1.npy", b"../../../etc/x.npy")
    manifest.write_bytes(b"\n".join([lines[0], b"{not json", hostile]) + b"\n")
    opened = open_run(run)
    assert len(opened.maps) == 1
    assert len(opened.problems) == 2
    assert "leads out" in str(opened.problems[1])


@pytest.mark.parametrize("kept", ["a whole record without its end", "half of one"])
def test_a_last_line_without_its_end_is_not_read_yet(run, kept):
    """It is still being written, or was cut off by a kill: no record, and nothing wrong."""
    for name in ("manifest-00000.jsonl", "samples-00000.jsonl"):
        text = (run / name).read_text().rstrip("\n")
        (run / name).write_text(text if kept.startswith("a whole") else text[:-20])
    opened = open_run(run)
    assert [m.record.level for m in opened.maps] == [0]
    assert (list(opened.samples), opened.problems) == ([], ())


def test_a_damaged_run_json(run):
    (run / "run.json").write_text("{")
    with pytest.raises(BadRunError, match="damaged"):
        open_run(run)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    import os

    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "x.npy", np.zeros((2, 2)))
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so it is told not to
    run = open_run(tmp_path)
    assert len(run.maps) == 1
    assert "locked cannot be read" in str(run.problems[0])
    (tmp_path / "a" / "x.npy").unlink()
    with pytest.raises(BadRunError, match="locked"):
        open_run(tmp_path)


@pytest.mark.parametrize(("name", "number"), [("run.json", 2), ("run.json", 0), ("places.json", 7)])
def test_another_format_is_said(run, name, number):
    """Also one whose fields mean something else: what it is comes first."""
    (run / name).write_text(f'{{"format": {number}, "started": 7, "places": {{}}, "layers": "all"}}')
    said = rf"{name} has format {number}, but this version of featscope reads format 1; update it: pip install -U featscope"
    with pytest.raises(BadRunError, match=said):
        raise next(iter(open_run(run).problems))  # without its places a run can be read


def test_a_manifest_that_is_no_file_is_not_waited_for(run):
    (run / "manifest-00000.jsonl").unlink()
    os.mkfifo(run / "manifest-00000.jsonl")
    with pytest.raises(BadRunError, match="it is not a regular file but a folder, a FIFO"):
        open_run(run)
