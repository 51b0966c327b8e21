"""What the site's build does with docstrings and the public names."""

import importlib.util
import sys

import pytest
from pages import PROJECT

import featscope


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"site_{name}", PROJECT / "tools" / "site" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_api_page_has_every_public_name():
    page = loaded("hooks").api_page()
    for name in featscope.__all__:
        assert f".{name}\n" in page


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    docstrings = loaded("docstrings")
    text = "Draw.\n\n>>> draw(1)  # doctest: +SKIP\n2\n\nsize: of the picture. image, style: a\nglob 'neck.*'."
    made = docstrings.listed(docstrings.escaped(docstrings.fenced(text)), ["size", "image", "style"])
    assert made == (
        "Draw.\n\n```pycon\n>>> draw(1)\n2\n```\n\n- **size**: of the picture.\n- **image, style**: a glob 'neck.\\*'."
    )
