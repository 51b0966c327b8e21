"""What the tab key gives, asked as bash asks."""

import os
import subprocess
import sys

import pytest


def offered(*words):
    """What is offered for the last word."""
    environment = {
        **os.environ,
        "_FEATSCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["featscope", *words]),
        "COMP_CWORD": str(len(words)),
    }
    code = (
        "import sys\nfrom featscope.cli import main\ntry:\n    main()\nfinally:\n"
        "    heavy = [name for name in ('torch', 'matplotlib', 'cv2') if name in sys.modules]\n"
        "    sys.stderr.write(repr(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == "[]", "what is pressed a key for must not load a framework"
    return done.stdout.split()


@pytest.mark.parametrize("verb", ["heat", "render", "list", "explain", "place"])
def test_layers_of_the_run_that_was_typed(run, verb):
    assert offered(verb, str(run), "-l", "n") == ["neck"]
    assert offered(verb, str(run), "-l", "q") == []


@pytest.mark.parametrize("verb", ["heat", "render", "list", "explain"])
def test_samples_of_the_run_that_was_typed(run, verb):
    assert offered(verb, str(run), "--sample", "") == ["a"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["heat", "--style", "j"], ["jet"]),
        (["render", "--style", "m"], ["mmengine_topk"]),
        (["heat", "-r", "p"], ["pc1", "pca"]),
        (["capture", "-r", "m"], ["mean", "max"]),
        (["heat", "--colormap", "virid"], ["viridis"]),
        (["capture", "--dtype", "b"], ["bfloat16"]),
        (["render", "--range", "c"], ["channel"]),
        (["heat", "--range", "c"], []),
        (["explain", "-m", "lay"], ["layercam"]),
        (["heat", "--place", "o"], ["operators"]),
        (["heat", "--und"], ["--under"]),
        (["ren"], ["render"]),
        (["heat", "/nowhere", "-l", ""], []),
    ],
)
def test_names(words, answer):
    assert offered(*words) == answer
