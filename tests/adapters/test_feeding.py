"""Images that are fed to a detector: files and folders, as a user names them."""

import pytest
from PIL import Image

from featscope.adapters.feeding import capture_images, list_images
from featscope.adapters.opening import open_detector
from featscope.analysis.labelled import labelled_samples
from featscope.errors import BadImageError, BadRunError
from featscope.records import Boxes
from featscope.store.reader import open_run


def test_files_and_folders_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    found = list_images([tmp_path / "b.png", tmp_path])
    assert [path.name for path in found] == ["b.png", "a.JPG", "b.png"]


def test_a_folder_of_folders_says_where_the_images_are(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(BadImageError) as empty:
        list_images([tmp_path])
    assert "there are some in" not in str(empty.value)
    (tmp_path / "images" / "a.png").touch()
    with pytest.raises(BadImageError, match="there are some in .*images$"):
        list_images([tmp_path])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two pictures of ships, of which one has labels, and the labels of a third."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "labels").mkdir()
    for name in ("bay", "quay"):
        Image.new("RGB", (96, 64), "grey").save(folder / f"{name}.png")
    (folder / "labels" / "bay.txt").write_text("0 0 10 0 10 5 0 5 ship 1\n0 0 10 0 10 5 0 5 zeppelin 0\n")
    (folder / "labels" / "dock.txt").write_text("0 0 10 0 10 5 0 5 ship 0\n")
    return folder


def test_labels_of_images_are_stored_in_their_samples(labelled, tmp_path):
    images = [labelled / "bay.png", labelled / "quay.png"]
    policy = {"reduce": "mean"}
    detector = open_detector("demo")
    made = capture_images(detector, images, tmp_path / "run", ["neck"], truth=labelled / "labels", policy=policy)
    samples = open_run(tmp_path / "run").samples
    ship = detector.info.classes.index("ship")
    assert samples["bay"].truth == Boxes("quad", [[0, 0, 10, 0, 10, 5, 0, 5]], [ship], ignored=["difficult"])
    assert samples["quay"].truth is None
    told = "\n".join(made.remarks)
    for note in ("1 sample with no labels: quay", "zeppelin (1)", "1 labelled image that the run lacks: dock"):
        assert note in told
    run = open_run(tmp_path / "run")
    assert "\n".join(run.info.truth_notes) in told
    assert any("zeppelin (1)" in note for note in run.info.truth_notes)
    assert labelled_samples(run).notes == run.info.truth_notes, "whoever counts objects says it again"
    assert labelled_samples(run, truth={"bay": samples["bay"].truth}).notes == []


def test_labels_of_other_images_are_an_error_before_anything_runs(labelled, tmp_path):
    with pytest.raises(BadRunError, match="no image has labels in"):
        capture_images(
            open_detector("demo"), [labelled / "quay.png"], tmp_path / "run", ["neck"], truth=labelled / "labels"
        )
    assert not (tmp_path / "run").exists()
