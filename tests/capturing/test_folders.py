import pytest
from torch import nn

from featscope.capturing.folders import FolderNames
from featscope.errors import BadOptionError


class Heat(nn.Sequential):
    """Its own output would lie in `heat`."""


def test_layers_whose_names_differ_by_case_only_have_folders_of_their_own():
    model = nn.ModuleDict({"U": nn.Conv2d(1, 1, 1), "u": nn.Conv2d(1, 1, 1), "V": nn.Conv2d(1, 1, 1)})
    for layers in (["U", "u", "V"], ["V", "u", "U"]):  # whichever runs first
        folders = FolderNames(model, layers, {})
        found = {layer: folders.of(layer, "Conv2d") for layer in layers}
        assert found["u"] == "u.conv2d"
        assert found["V"] == "V.conv2d"
        assert found["U"].startswith("U.conv2d~")
        assert len({name.casefold() for name in found.values()}) == 3


def test_a_class_that_is_called_as_a_folder_of_a_run():
    assert FolderNames(Heat(), [""], {}).of("", "Heat") == "heat.output"


def test_a_given_name_is_not_that_of_another_layer():
    model = nn.ModuleDict({"a": nn.Conv2d(1, 1, 1), "b": nn.Conv2d(1, 1, 1)})
    with pytest.raises(BadOptionError, match="the folder 'B.conv2d' belongs to another layer"):
        FolderNames(model, ["a"], {"a": "B.conv2d"})
    assert FolderNames(model, ["a"], {"a": "a.conv2d"}).of("a", "Conv2d") == "a.conv2d"
    with pytest.raises(BadOptionError, match="differ only by case"):
        FolderNames(model, ["a", "b"], {"a": "x", "b": "X"})
