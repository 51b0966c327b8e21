"""The table of frameworks, and the rows that packages of others add to it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from featscope.adapters.frameworks import FRAMEWORKS, companions_at_hand
from featscope.adapters.opening import open_detector
from featscope.errors import BadOptionError, UnknownNameError
from featscope.store.reader import open_run

pytest.importorskip("torch")

ROW = """
from featscope.adapters.frameworks import Framework

FRAMEWORK = Framework("toy_adapter.detector", "a toy", "toy", "toy_adapter.companion")
"""

DETECTOR = """
from featscope.adapters.demo import open_detector as demo

def open_detector(opening):
    assert opening.target == "thing"
    return demo(opening)
"""

COMPANION = """
import toy
from featscope.adapters.companions import ScriptModel, script_info
from featscope.capturing.inputs import Known
from featscope.records import Sample

class Companion:
    def before(self, call):
        return Known([Sample(call.named["name"])])

    def after(self, call, known, output):
        return None

    def close(self):
        pass

def accompany(model, owners, provenance):
    if not isinstance(model, toy.Toy):
        return None
    return ScriptModel(model, Companion(), script_info(model), ("made",))

def companion_of(model, pictures):
    return Companion() if isinstance(model, toy.Toy) else None
"""

FRAMEWORK = """
from torch import nn

class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.made, self.backbone = nn.Identity(), nn.Conv2d(3, 2, 3)

    def forward(self, image, name):
        return self.backbone(self.made(image))
"""

SCRIPT = "import torch, toy\nmodel = toy.Toy()\nfor name in ('sea', 'sky'): model(torch.zeros(1, 3, 8, 8), name=name)\n"


def install(site, offered, **modules):
    """A distribution with an entry point, as pip leaves it; modules: of its package."""
    package = site / "toy_adapter"
    package.mkdir(parents=True)
    for name, source in {"__init__": "", **modules}.items():
        (package / f"{name}.py").write_text(source)
    info = site / "toy_adapter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-adapter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[featscope.adapters]\ntoy = {offered}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages; what is imported from it is forgotten again."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = set(sys.modules)
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("toy", "toy_adapter"):
            del sys.modules[name]


@pytest.mark.parametrize("offered", ["toy_adapter.framework:FRAMEWORK", "toy_adapter.detector:open_detector"])
def test_a_framework_of_somebody_else_opens_by_its_name(site, offered):
    install(site, offered, framework=ROW, detector=DETECTOR)
    assert open_detector("toy:thing").info.model == "S2ANetMini"
    with pytest.raises(UnknownNameError, match="'toy'"):
        open_detector("tyo:thing")


def test_an_entry_point_that_names_something_else_is_an_error(site):
    install(site, "toy_adapter.framework:NAME", framework="NAME = 'toy'")
    with pytest.raises(BadOptionError, match="names a str"):
        open_detector("toy:thing")


@pytest.mark.parametrize("known", [True, False])
def test_its_companion_goes_along_with_a_script(site, tmp_path, known):
    """Without the companion the images have numbers for names, and every part of the model is captured."""
    companion = COMPANION if known else "raise ImportError('another version')"
    install(site, "toy_adapter.framework:FRAMEWORK", framework=ROW, detector=DETECTOR, companion=companion)
    (site / "toy.py").write_text(FRAMEWORK)
    (tmp_path / "script.py").write_text(SCRIPT)
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-m", "featscope", "run", "-o", str(tmp_path / "run"), "--", "python", "script.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, str(site)])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    assert (list(run.samples) == ["sea", "sky"]) == known
    assert {one.record.layer for one in run.maps} == ({"backbone"} if known else {"backbone", "made"})


def test_what_is_not_imported_is_not_at_hand(site, monkeypatch):
    install(site, "toy_adapter.framework:FRAMEWORK", framework=ROW, companion="")
    assert "toy_adapter.companion" not in [module.__name__ for module in companions_at_hand()]
    assert "toy_adapter.companion" not in sys.modules
    monkeypatch.setitem(sys.modules, "toy", sys)
    assert "toy_adapter.companion" in [module.__name__ for module in companions_at_hand()]


def test_a_broken_package_stops_no_capture(site):
    install(site, "toy_adapter.framework:FRAMEWORK", framework="1 / 0")
    with pytest.warns(RuntimeWarning, match=r"'toy'.* cannot be loaded: .*division by zero"):
        list(companions_at_hand())


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_row_names_modules_that_exist(name):
    row = FRAMEWORKS[name]
    assert find_spec(row.opener) is not None
    assert bool(row.companion) == bool(row.package)
    if row.companion:
        assert find_spec(row.companion) is not None
