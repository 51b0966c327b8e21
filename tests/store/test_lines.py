"""Files of lines: their lock."""

import os

import pytest

from featscope.errors import BadRunError
from featscope.store.lines import LineFile

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@forks
def test_the_lock_ends_with_the_file_though_a_forked_process_has_not_closed_it_yet(tmp_path):
    lines = LineFile(tmp_path / "lines")
    inherited = os.dup(lines._descriptor)  # as a forked process has it, until it gets to run
    try:
        lines.close()
        LineFile(tmp_path / "lines").close()
    finally:
        os.close(inherited)


@forks
def test_a_forked_process_does_not_release_the_lock_of_its_parent(tmp_path):
    lines = LineFile(tmp_path / "lines")
    child = os.fork()
    if not child:
        os._exit(0)  # it has closed the file by now
    os.waitpid(child, 0)
    with pytest.raises(BadRunError, match="another capture is writing"):
        LineFile(tmp_path / "lines")
    lines.close()
    LineFile(tmp_path / "lines").close()
