"""Windows and macOS lack some of what Linux has: without it, all is imported, captured, drawn and explained."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

MISSING = (
    *("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "setsid", "getsid", "setpgid", "getpgid"),
    *("killpg", "getpgrp", "mkfifo", "mknod", "nice", "sched_getaffinity", "sched_setaffinity", "sched_yield"),
    *("pread", "pwrite", "preadv", "pwritev", "posix_fallocate", "posix_fadvise", "sendfile", "sync", "fdatasync"),
    *("uname", "wait", "wait3", "wait4", "waitid", "WNOHANG", "chown", "fchmod", "fchown", "lockf", "getloadavg"),
    *("O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "O_DSYNC", "O_TMPFILE", "sysconf", "confstr"),
    *("memfd_create", "eventfd", "pidfd_open", "getxattr", "setxattr", "getgroups", "copy_file_range", "splice"),
)
"""Of `os`, what Windows lacks. statvfs is left: the standard library's disk_usage does without it there, not here."""

SCRIPT = """
import os, signal, sys, types
sys.path.insert(0, {tests!r})
# What others import first is theirs; what is taken away afterwards is missing for featscope alone.
import fnmatch, logging, multiprocessing.pool, random, shutil, sqlite3, subprocess, tempfile, concurrent.futures.thread
import PIL.Image, cmap, isal.isal_zlib, msgspec, numpy, rich.progress, rich.table, torch, typer
assert "featscope" not in sys.modules
for name in {missing!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGALRM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGCHLD", "pthread_sigmask", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
locked = []
for name in ("fcntl", "resource", "pwd", "grp", "termios", "posix"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, LK_LOCK=1, LK_UNLCK=0, locking=lambda *how: locked.append(how))

import pkgutil, importlib, featscope
for module in pkgutil.walk_packages(featscope.__path__, "featscope."):
    if ".adapters." not in module.name and not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            assert error.name in ("starlette", "uvicorn"), error  # an extra that Python 3.8 does not have
import small_run
from featscope.cli import main

run, alone = {run!r}, ["--executor", "serial"]  # the processes of Linux cannot do without
small_run.BATCHES = 3
small_run.capture_all(run)
assert locked, "Windows has a lock of its own"
small_run.capture_all(run, resume=True)
assert featscope.check_run(run).problems == []
for arguments in (["list", run], ["check", run], ["heat", run, *alone], ["render", run, *alone], ["explain", run, "--list"]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert not stop.code, (arguments, stop.code)
print(len(list(__import__("pathlib").Path(run).rglob("*.png"))), "pictures")
"""


def test_nothing_that_other_systems_lack_is_used_without_a_branch(tmp_path):
    script = SCRIPT.format(missing=MISSING, tests=str(Path(__file__).parent), run=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # Three batches of one sample, three layers: a heat map and a mosaic of each.
    assert "18 pictures" in done.stdout
