"""Work that a test kills, each a function of a process that has everything imported already."""

import os
import runpy  # noqa: F401 (imported before the fork, as all that `run` needs)
import sys
from pathlib import Path

import small_run

import featscope.adapters.demo
import featscope.adapters.feeding
import featscope.cli.explain
import featscope.demo.detector  # noqa: F401
from featscope.cli import main
from featscope.store.reader import open_run

SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(small_run.__file__).parent)!r})
import small_run, torch
torch.set_num_threads(1)
network = small_run.model()
with torch.no_grad():
    for number in range(small_run.BATCHES):
        network(torch.randn(1, 3, 48, 40, generator=torch.Generator().manual_seed(number)))
"""


def command(arguments, log):
    """The command line, in a session of its own: who is left over of it can be told."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["featscope", *arguments]
    main(arguments)


def index(folder, log):
    """Open a run so large that its index is kept."""
    os.setsid()
    open_run(folder)
