"""Tests that every adapter must pass, also adapters in other packages. They need pytest.

>>> from featscope.testing import AdapterContract
>>> class TestMine(AdapterContract):                                         # doctest: +SKIP
...     layers = ("backbone",)
...
...     @staticmethod
...     def open():
...         return open_detector("mine:small", "random")
"""

import pytest

pytest.register_assert_rewrite("featscope.testing.contract")

from featscope.testing.contract import AdapterContract, write_images  # noqa: E402 (its asserts are rewritten by then)

__all__ = ["AdapterContract", "write_images"]
