"""Files of candidates: what is written is read again, and a damaged file is an error that names it."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from featscope.arrays.assigned import by_distance
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.errors import BadRunError, OutputError
from featscope.records import RunInfo, Sample, Selection
from featscope.store.candidates import packed, read_candidates, size_of, write_candidates
from featscope.store.check import check_run
from featscope.store.reader import open_run
from featscope.store.writer import RunWriter

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random((6, 2), np.float32)
CELLS = LevelCandidates(SCORES, RANDOM.random((6, 5), np.float32), "cell", (2, 3, 1))
HOW = Selection(threshold=0.05, per_level=3, suppression="rotated", overlap=0.1)
CANDIDATES = ImageCandidates((CELLS,), "cxcywha", HOW)


def same(a, b):
    assert (a.form, a.selection, a.unknown) == (b.form, b.selection, b.unknown)
    assert len(a.levels) == len(b.levels)
    for mine, theirs in zip(a.levels, b.levels):
        assert (mine.kind, mine.grid) == (theirs.kind, theirs.grid)
        for name in ("scores", "boxes", "ranks", "compared"):
            one, other = getattr(mine, name), getattr(theirs, name)
            assert (one is None) == (other is None), name
            if one is not None:
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


@pytest.fixture
def run(tmp_path):
    """A run of one sample with its candidates."""
    writer = RunWriter(tmp_path / "run", RunInfo(model="Tiny"))
    writer.put_sample(Sample("harbour", batch=3), None, CANDIDATES)
    writer.put_sample(Sample("field", batch=3))
    writer.close()
    return open_run(tmp_path / "run")


def test_what_is_written_is_read(run):
    sample = run.samples["harbour"]
    assert sample.candidates == "candidates/3_harbour.npz"
    same(read_candidates(run, sample), CANDIDATES)
    assert read_candidates(run, run.samples["field"]) is None
    assert check_run(run.folder).problems == []


def test_everything_a_level_can_have(tmp_path, run):
    boxes = RANDOM.random((4, 3, 4))  # a box for each class, which float32 cannot hold
    level = LevelCandidates(
        RANDOM.random((4, 3), np.float32),
        boxes,
        "roi",
        ranks=RANDOM.random((4, 3), np.float32),
        compared=boxes.astype(np.float32) * 2,
    )
    empty = LevelCandidates(np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), "query")
    given = ImageCandidates((level, empty), "xyxy", None, unknown="it uses soft-NMS")
    path = write_candidates(run.folder, "a/b", given)
    assert path == "candidates/a%2Fb.npz"
    same(read_candidates(run, Sample("x", candidates=path)), given)
    assert size_of(given) == 4 * (12 + 12 + 48) + 8 * 48


def test_numpy_opens_the_file_without_pickle(run):
    with np.load(run.folder / "candidates" / "3_harbour.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["0.scores"], SCORES)
        assert archive["0.boxes"].dtype == np.float32
        about = json.loads(archive["about.json"])
    assert about["form"] == "cxcywha"
    assert about["levels"] == [{"kind": "cell", "grid": [2, 3, 1]}]
    assert about["selection"] == {"threshold": 0.05, "per_level": 3, "suppression": "rotated", "overlap": 0.1}


def test_boxes_are_float32_where_that_loses_nothing(run):
    whole = LevelCandidates(SCORES, np.arange(30.0).reshape(6, 5), "query")
    path = write_candidates(run.folder, "whole", ImageCandidates((whole,), "cxcywha", None))
    assert read_candidates(run, Sample("x", candidates=path)).levels[0].boxes.dtype == np.float32


def test_the_same_candidates_are_the_same_file():
    assert packed(CANDIDATES) == packed(CANDIDATES)


def test_a_missing_file(run):
    (run.folder / "candidates" / "3_harbour.npz").unlink()
    with pytest.raises(BadRunError, match=r"3_harbour\.npz is missing; it holds the candidates of sample 'harbour'"):
        read_candidates(run, run.samples["harbour"])
    assert "3_harbour.npz is missing" in check_run(run.folder).problems[0]


def test_every_changed_byte_is_noticed_or_harmless(run):
    """No damage gives other numbers, or an error of another kind."""
    path = run.folder / "candidates" / "3_harbour.npz"
    data = path.read_bytes()
    noticed = 0
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        problems = check_run(run.folder).problems
        if problems:
            assert "3_harbour.npz" in problems[0]
            noticed += 1
        else:
            same(read_candidates(run, run.samples["harbour"]), CANDIDATES)
    assert noticed > len(data) / 7 / 2


@pytest.mark.parametrize("length", [0, 10, 300, -1])
def test_a_truncated_file(run, length):
    path = run.folder / "candidates" / "3_harbour.npz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BadRunError, match=r"3_harbour\.npz"):
        read_candidates(run, run.samples["harbour"])
    assert len(check_run(run.folder).problems) == 1


def rewritten(path, **changed):
    """Write the file with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members.update({name.replace("__", "."): data for name, data in changed.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def npy(array):
    import io

    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"0__boxes__npy": npy(np.zeros((5, 5), np.float32))}, "boxes of shape (5, 5) in level 0 for scores of shape"),
        ({"0__boxes__npy": npy(np.zeros((6, 4), np.float32))}, "boxes of shape (6, 4)"),
        ({"0__scores__npy": npy(np.zeros(6, np.float32))}, "does not hold the scores and boxes of level 0"),
        ({"0__scores__npy": None}, "does not hold the scores and boxes of level 0"),
        ({"0__ranks__npy": npy(np.zeros((6, 3), np.float32))}, "different shapes in level 0"),
        ({"0__compared__npy": npy(np.zeros((6, 4), np.float32))}, "different shapes in level 0"),
        ({"0__scores__npy": npy(np.array([{}], object))}, "Python objects"),
        ({"0__scores__npy": npy(np.zeros((6, 2), np.int64))}, "the type int64"),
        ({"about__json": None}, "it has no about.json"),
        ({"about__json": b"{"}, "is damaged"),
        ({"about__json": b'{"form": "circle", "levels": []}'}, "the unknown form 'circle'"),
        ({"about__json": b'{"form": "xyxy", "levels": [], "format": 9}'}, "has the format 9"),
        (
            {"about__json": b'{"form": "cxcywha", "levels": [{"kind": "cell", "grid": [2, 2, 1]}]}'},
            "a grid of (2, 2, 1)",
        ),
        ({"about__json": b'{"form": "cxcywha", "levels": [], "selection": {"labels": "some"}}'}, "unknown word 'some'"),
    ],
)
def test_a_file_that_contradicts_itself(run, changed, words):
    path = run.folder / "candidates" / "3_harbour.npz"
    rewritten(path, **changed)
    with pytest.raises(BadRunError) as caught:
        read_candidates(run, run.samples["harbour"])
    assert words in str(caught.value)
    assert "3_harbour.npz" in str(caught.value)


def test_a_compressed_member_is_refused(run):
    """It could claim more memory than there is."""
    path = run.folder / "candidates" / "3_harbour.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.json", b" " * 10_000_000)
    with pytest.raises(BadRunError, match="in a form that featscope does not write"):
        read_candidates(run, run.samples["harbour"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.json", b'{"form": "xyxy", "levels": []}')
    with pytest.raises(BadRunError, match="in a form that featscope does not write"):
        read_candidates(run, run.samples["harbour"])


def test_a_path_that_leads_out_of_the_run(run):
    with pytest.raises(ValueError, match="leads out of the run"):
        read_candidates(run, Sample("x", candidates="../secret.npz"))


def test_a_disk_that_fails_names_the_file(tmp_path):
    (tmp_path / "candidates").write_text("a file in place of the folder")
    with pytest.raises(OutputError, match="candidates"):
        write_candidates(tmp_path, "a", CANDIDATES)


def test_what_the_training_assigns_is_kept_and_older_files_have_none_of_it(run):
    sizes = by_distance([(0, 64), (64, 1e8)], "regress_ranges of FCOSHead")
    for assigned in (sizes, None):
        sample = Sample("a", candidates=write_candidates(run.folder, "a", replace(CANDIDATES, assigned=assigned)))
        assert read_candidates(run, sample).assigned == assigned
