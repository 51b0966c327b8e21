"""Images that are fed to a detector: files and folders, as a user names them."""

import pytest

from featscope.adapters.feeding import list_images
from featscope.errors import BadImageError


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
