"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import featscope

# Adapters need their frameworks; the integration tests run them.
MODULES = [
    name
    for _, name, is_package in pkgutil.walk_packages(featscope.__path__, "featscope.")
    if not is_package and ".adapters." not in name and not name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = importlib.import_module(name)
    globals_ = dict(vars(module), np=np)
    failed, _ = doctest.testmod(module, globs=globals_, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
