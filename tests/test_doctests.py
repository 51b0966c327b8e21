"""The examples in the docstrings run."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import featscope

MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(featscope.__path__, "featscope.")
    if not is_package and not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if ".adapters." not in name:
            raise
        pytest.skip(f"the adapter's framework is not installed: {error}")
    if "torch" in inspect.getsource(module):
        pytest.importorskip("torch")
    globals_ = dict(vars(module), np=np)
    failed, _ = doctest.testmod(module, globs=globals_, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
