"""The table of methods: what is in it works, and nothing beside it."""

import subprocess
import sys

import pytest
import torch

from featscope.errors import BadOptionError, UnknownNameError
from featscope.explaining.methods import ALL, DEFAULT, METHODS, help_text, methods_named, refuse_side


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_there(name):
    method = METHODS[name]
    if method.by == "hiding":
        assert callable(method.hide)
        with pytest.raises(TypeError):
            _ = method.compute
    else:
        assert method.compute(torch.rand(4, 5, 6), torch.rand(4, 5, 6)).shape == (5, 6)
        with pytest.raises(TypeError):
            _ = method.hide


def test_names_are_checked_and_all_stands_for_one_forward():
    assert methods_named([]) == [DEFAULT]
    assert set(methods_named([ALL])) == {name for name, method in METHODS.items() if method.by != "hiding"}
    assert methods_named(["odam", "odam"]) == ["odam"]
    with pytest.raises(UnknownNameError, match="'layercam'"):
        methods_named(["layer-cam"])


def test_a_side_needs_a_gradient():
    refuse_side(["odam"], "left")
    refuse_side(["d-rise"], "")
    for name in ("d-rise", "eigen-cam"):
        with pytest.raises(BadOptionError, match=f"leave out {name}"):
            refuse_side(["odam", name], "left")


def test_help_names_all_and_loads_no_torch():
    assert all(name in help_text() for name in METHODS)
    code = "import sys, featscope.cli.explain; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
