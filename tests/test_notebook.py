"""The notebook in examples/ runs from its first cell to its last, and its results show themselves."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_holds_no_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code")


def test_it_runs_in_plain_python(tmp_path, monkeypatch):
    """Also where Jupyter is not installed: each cell, and the text of what it ends with."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    names = {}
    for source in CODE:
        *body, last = ast.parse(source).body
        if not isinstance(last, ast.Expr):
            exec(source, names)
            continue
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        assert repr(value)
        for show in ("_repr_html_", "_repr_png_"):
            assert not hasattr(value, show) or getattr(value, show)()


def test_it_runs_in_jupyter(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside it
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    notebook = nbformat.read(str(NOTEBOOK), as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [set(output.data) for cell in code for output in cell.outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 3, "the photo, the heat map, the mosaic"
    assert sum("text/html" in data for data in shown) >= 6, "tables, contact sheets"
    said = [output for cell in code for output in cell.outputs if output.output_type == "stream"]
    assert said == [], "no warning"
