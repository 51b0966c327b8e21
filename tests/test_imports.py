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
    {"errors", "records"},
    {"arrays"},
    {"store"},
    {"render", "capturing"},
    {"explain"},
    {"demo", "scale"},
    {"adapters"},
    {"cli"},
]
APART = {("render", "capturing"), ("capturing", "render")}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("featscope."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("featscope."))


def _level(name):
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_look_only_down(path):
    package = path.relative_to(SOURCE).parts[0].replace(".py", "")
    if package in ("__init__", "__main__"):
        return
    for other in _imports(path):
        assert _level(other) <= _level(package), f"{package} imports {other}"
        assert (package, other) not in APART


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
    assert set(featscope.__all__) == set(featscope._HOMES)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        featscope.nothing_like_this  # noqa: B018
