"""`featscope run`: a script's model is found and captured; output, results and exit code are the script's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featscope.adapters.running import parse_command
from featscope.cli import main
from featscope.errors import BadOptionError
from featscope.store.check import check_run
from featscope.store.reader import open_run

pytest.importorskip("torch")

SCRIPT = """
import sys
import torch
from torch import nn

class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
    def forward(self, x):
        return self.conv(x).relu()

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.normalise = nn.Identity()
        self.backbone = Backbone()
        self.head = nn.Conv2d(4, 2, 1)
        self.head(self.backbone(torch.zeros(1, 3, 8, 8)))  # to learn its strides, as some do
    def forward(self, x):
        return self.head(self.backbone(self.normalise(x)))

torch.manual_seed(0)
other = nn.Linear(4, 4)
other(torch.zeros(1, 4))
model = Detector().eval()
nn.ReLU()(torch.zeros(1))
for number in range(3):
    found = model(torch.full((1, 3, 16, 24), float(number)))
    print("sum", number, round(float(found.sum()), 4))
print("arguments", sys.argv[1:], __name__, "torch" in sys.modules)
"""


def run(tmp_path, script, *arguments, options=(), check=True, before=()):
    path = tmp_path / "script.py"
    path.write_text(script)
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *before, "-m", "featscope", "run", "-o", str(tmp_path / "run"), *options]
    command += ["--", "python", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_a_script_runs_as_it_is_and_its_model_is_captured(tmp_path):
    done = run(tmp_path, SCRIPT, "--lr", "1", "-x", options=("-l", "backbone", "-l", "head"))
    (tmp_path / "script.py").write_text(SCRIPT)
    plain = subprocess.run(
        [sys.executable, tmp_path / "script.py", "--lr", "1", "-x"], capture_output=True, text=True, check=True
    )
    assert done.stdout == plain.stdout
    assert "arguments ['--lr', '1', '-x'] __main__ True" in done.stdout
    opened = open_run(tmp_path / "run")
    assert opened.info.finished
    assert opened.info.model == "Detector"
    assert opened.folders() == {"backbone.backbone": 3, "head.conv2d": 3}
    sums = [round(float(m.load().sum()), 4) for m in opened.select(layer="head")]
    assert [f"sum {n} {value}" for n, value in enumerate(sums)] == done.stdout.splitlines()[:3]
    assert "6 maps of 3 samples" in done.stderr


@pytest.mark.slow
def test_without_layers_the_first_outermost_model_is_taken(tmp_path):
    run(tmp_path, SCRIPT.replace("other(torch", "(torch"))
    assert open_run(tmp_path / "run").info.model == "Detector"
    assert set(open_run(tmp_path / "run").folders()) == {"backbone.backbone", "head.conv2d", "normalise.identity"}


def test_torch_is_not_imported_before_the_script_does(tmp_path):
    done = run(
        tmp_path, "import sys\nassert 'torch' not in sys.modules\nassert 'numpy' in sys.modules or True\n", check=False
    )
    assert "nothing was captured" in done.stderr
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        ("raise ValueError('of its own')", 1, "ValueError: of its own"),
        ("sys.exit(7)", 7, "the script ended with 7"),
        ("sys.exit('why')", 1, "why"),
    ],
)
def test_a_script_that_fails(tmp_path, last, code, words):
    done = run(tmp_path, SCRIPT + last, options=("-l", "backbone"), check=False)
    assert done.returncode == code
    assert words in done.stderr
    if "ValueError" in words:  # with its own frames and no others
        assert done.stderr.count('File "') == 1
    opened = open_run(tmp_path / "run")
    assert not opened.info.finished
    assert len(opened.maps) == 3


@pytest.mark.slow
def test_exit_zero_is_an_end_like_any_other(tmp_path):
    run(tmp_path, SCRIPT + "sys.exit(0)", options=("-l", "backbone"))
    assert open_run(tmp_path / "run").info.finished


def test_layers_that_no_model_has(tmp_path):
    done = run(tmp_path, SCRIPT, options=("-l", "bakbone"), check=False)
    assert done.returncode == 1
    assert "'backbone'" in done.stderr
    assert "sum 2" in done.stdout, "the script went on"


@pytest.mark.slow
def test_a_module_runs_too(tmp_path):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "test.py").write_text(SCRIPT)
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run(
        [sys.executable, "-m", "featscope", "run", "-o", "run", "-l", "head", "--", "python", "-m", "mine.test", "a"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, check=True, capture_output=True,
    )  # fmt: skip
    assert len(open_run(tmp_path / "run").maps) == 3


@pytest.mark.slow
def test_torchrun(tmp_path):
    """Two ranks of a script of its own: one run, each image once."""
    script = SCRIPT.replace(
        "for number in range(3):", "import os\nrank = int(os.environ['RANK'])\nfor number in (rank, rank + 2):"
    )
    (tmp_path / "script.py").write_text(script)
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += ["-m", "featscope", "run", "-o", "run", "-l", "head", "--", "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    opened = open_run(tmp_path / "run")
    assert opened.info.finished
    assert sorted(m.path.name for m in opened.maps) == [f"batch_{n}_layer_0.npy" for n in range(4)]
    by_batch = {m.record.batch: float(m.load().mean()) for m in opened.maps}
    assert np.all(np.diff([by_batch[n] for n in range(4)]) != 0)
    assert sorted(opened.samples) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["torchrun", "x.py"], "torchrun --nproc_per_node 2 -m featscope run"),
        (["python"], "is not a script"),
        (["missing.py"], "does not exist"),
        (["python", "-c", "1"], "is not a script"),
    ],
)
def test_what_is_no_script(command, words):
    with pytest.raises(BadOptionError, match=words):
        parse_command(command)


def test_a_run_that_is_there_already_is_one_line(tmp_path):
    run(tmp_path, SCRIPT, options=("-l", "backbone"))
    again = run(tmp_path, SCRIPT, options=("-l", "backbone"), check=False)
    assert again.returncode == 1
    assert again.stdout == "", "the script has not done anything yet"
    assert "Traceback" not in again.stderr
    assert "--resume" in again.stderr or "exists" in again.stderr
    assert len(open_run(tmp_path / "run").maps) == 3


METHODS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.modules = []  # as the official ESPNet has it
        self.stem, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 2, 1)
    def forward_features(self, x):
        return self.stem(x)
    def forward(self, x):
        return self.head(self.forward_features(x))

torch.manual_seed(0)
net = Net().eval()
images = torch.linspace(0, 1, 2 * 3 * 16 * 24).reshape(2, 3, 16, 24)
"""


@pytest.mark.slow
def test_a_script_that_calls_a_method(tmp_path):
    done = run(tmp_path, METHODS + "for _ in range(3):\n    print(net.forward_features(images).shape)\n")
    assert done.stdout.count("torch.Size([2, 4, 8, 12])") == 3
    opened = open_run(tmp_path / "run")
    assert opened.info.model == "Net"
    assert opened.folders() == {"stem.conv2d": 3}
    assert sorted(opened.samples) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_a_plain_script_keeps_its_input_pictures(tmp_path):
    from PIL import Image

    run(tmp_path, METHODS + "net(images)\n")
    opened = open_run(tmp_path / "run")
    second = opened.samples["1"]
    assert second.geometry.original == second.geometry.padded == (16, 24)
    picture = np.asarray(Image.open(tmp_path / "run" / second.input)).astype(int)
    expected = np.linspace(0, 255, 2 * 3 * 16 * 24).reshape(2, 3, 16, 24)[1].transpose(1, 2, 0)
    assert np.abs(picture - expected).mean() < 8  # JPEG
    assert not check_run(tmp_path / "run").problems


def test_a_layer_that_gives_nothing_costs_the_script_nothing_but_the_exit_code(tmp_path):
    words = METHODS.replace("return self.stem(x)", "self.text(x); return self.stem(x)")
    words = words.replace(
        "class Net", "class Text(nn.Module):\n    def forward(self, x):\n        return 'a'\nclass Net"
    )
    words = words.replace("self.stem, ", "self.text, self.stem, ").replace("nn.Conv2d(3, 4", "Text(), nn.Conv2d(3, 4")
    done = run(tmp_path, words + "net(images); print('done')", options=("-l", "text", "-l", "head"), check=False)
    assert "done" in done.stdout
    assert done.returncode == 1
    assert "'text' gave nothing that can be stored (its output does not contain a tensor)" in done.stderr
    assert "Traceback" not in done.stderr
    opened = open_run(tmp_path / "run")
    assert opened.folders() == {"head.conv2d": 1}
    assert any("lacks 'text'" in problem for problem in check_run(tmp_path / "run").problems)


@pytest.mark.slow
def test_parts_that_are_called_by_themselves(tmp_path):
    done = run(tmp_path, METHODS + "net(images); net.stem(images); print('done')", check=False)
    assert "done" in done.stdout
    assert done.returncode == 1
    assert "'stem' ran outside any call" in done.stderr
    assert open_run(tmp_path / "run").folders() == {"head.conv2d": 1, "stem.conv2d": 1}
    assert any(
        "lacks 'stem': it also ran outside any call" in problem for problem in check_run(tmp_path / "run").problems
    )


@pytest.mark.filterwarnings("ignore:featscope stopped capturing")  # as an error it would end the script
def test_a_disk_that_fills_up_is_said_and_the_script_goes_on(small_disk, tmp_path, capfd):
    """Its results are its own; the run is unfinished, and the exit code says so."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time, torch\n"
        "model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1))\n"
        "for _ in range(100):\n"
        "    model(torch.zeros(1, 3, 64, 64)); time.sleep(0.002)\n"
        "print('its own end', flush=True)\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["run", "-o", str(small_disk / "run"), "--", str(script)])
    out, said = capfd.readouterr()
    said = " ".join(said.split())
    assert (stop.value.code, out) == (1, "its own end\n")
    assert "No space left on device" in said
    assert f"{small_disk / 'run'} is unfinished; continue it: --resume" in said
