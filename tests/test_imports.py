"""The house: who may import whom, and that importing featscope is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featscope

SOURCE = Path(featscope.__file__).parent
# Lower layers first; a package imports its own layer and those below it.
LAYERS = [
    {"errors", "records", "words"},
    {"arrays", "scale"},
    {"store"},
    {"render", "capturing"},
    {"analysis"},
    {"explaining"},
    {"measuring"},
    {"demo"},
    {"adapters"},
    {"testing"},
    {"viewer"},
    {"cli"},
]
APART = {
    ("render", "capturing"),
    ("capturing", "render"),
    ("adapters", "render"),
    ("analysis", "capturing"),
    ("viewer", "capturing"),
    ("viewer", "adapters"),
    ("viewer", "testing"),
    ("viewer", "demo"),
    ("arrays", "scale"),
    ("scale", "arrays"),
}

UPWARD = {("store/reader.py", "viewer")}
"""`run.view()`: a run shows itself, and users expect to find that on the run. It is imported when it is called."""


def _imports(path):
    """The packages of featscope that a file imports, however it writes that."""
    inside = path.relative_to(SOURCE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:  # from . import x, from ..store import y
                base = ("featscope", *inside[: len(inside) + 1 - node.level], *filter(None, [node.module]))
            else:
                base = tuple((node.module or "").split("."))
            if base[:1] == ("featscope",):
                yield from [base[1]] if len(base) > 1 else map(_package, (a.name for a in node.names))
        elif isinstance(node, ast.Import):
            for name in (a.name.split(".") for a in node.names):
                if name[0] == "featscope":
                    yield name[1] if len(name) > 1 else "cli"  # the package itself reaches everywhere


def _package(name):
    """Where a name of `from featscope import name` lives."""
    if name == "__version__":
        return "errors"  # as low as can be
    return featscope._HOMES[name].split(".")[0] if name in featscope._HOMES else name


def _level(name):
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_look_only_down(path):
    package = path.relative_to(SOURCE).parts[0].replace(".py", "")
    if package in ("__init__", "__main__"):
        return
    for other in _imports(path):
        if (path.relative_to(SOURCE).as_posix(), other) in UPWARD:
            continue
        assert _level(other) <= _level(package), f"{package} imports {other}"
        assert (package, other) not in APART


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("from featscope import draw_heat", "render"),
        ("from featscope import render", "render"),
        ("from featscope.render import heat", "render"),
        ("import featscope.render.heat", "render"),
        ("import featscope", "cli"),
        ("from ..render import heat", "render"),
        ("from .. import draw_heat", "render"),
        ("from . import layers", "capturing"),
    ],
)
def test_every_way_to_import_is_seen(tmp_path, monkeypatch, line, package):
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    (tmp_path / "capturing").mkdir()
    (tmp_path / "capturing" / "one.py").write_text(line)
    assert list(_imports(tmp_path / "capturing" / "one.py")) == [package]


def test_importing_featscope_loads_nothing_heavy():
    code = "import featscope, sys; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "matplotlib", "cv2", "numpy", "PIL"):
        assert f"'{heavy}'" not in loaded


def test_drawing_loads_no_torch():
    code = "import featscope, sys; featscope.draw_heat; featscope.open_run; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists():
    for name in featscope.__all__:
        assert getattr(featscope, name) is not None
    assert featscope.__all__ == sorted(featscope._HOMES)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        featscope.nothing_like_this  # noqa: B018


def test_type_checkers_see_every_public_name_where_it_lives():
    block = next(node for node in ast.parse((SOURCE / "__init__.py").read_text()).body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in block.body for name in node.names}
    assert seen == {name: f"featscope.{home}" for name, home in featscope._HOMES.items()}


def test_only_the_tests_for_others_need_pytest():
    for path in SOURCE.rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Import)]
        needs = any(name.name == "pytest" for node in nodes for name in node.names)
        assert not needs or path.parent.name == "testing", path
