"""`featscope view`: a page in the browser that shows the maps of one or several runs."""

from __future__ import annotations

import os
import subprocess
import sys
from glob import escape as glob_escape
from pathlib import Path
from typing import List, Optional

from featscope.cli import options
from featscope.cli.options import own
from featscope.errors import BadRunError, MissingPackageError


def run(
    folders: List[Path] = options.runs_or_folder,
    layers: Optional[List[str]] = options.layer(),
    sample: Optional[str] = options.sample(),
    browser: bool = own(
        "--open/--no-open", panel=options.WHAT, help="Open the page, if there is a desktop.", default=True
    ),
    explain: bool = own(
        "--explain/--no-explain",
        panel=options.WHAT,
        help="Explain detections on demand: the run's model is opened as it was for the capture.",
        default=False,
    ),
    port: int = own(
        "--port", panel=options.RARE, help="Listen on this port.", default=0, metavar="N", shown="any", min=0, max=65535
    ),
    host: str = own(
        "--host",
        panel=options.RARE,
        help="Listen on this address. Any other than 127.0.0.1 lets other machines see the run.",
        default="127.0.0.1",
        metavar="ADDRESS",
    ),
) -> None:
    """Look at the maps of a run in the browser: every image, layer, level and channel, with boxes and their sources.

    The page is served on this machine only. Ctrl-C ends it.

    Examples:
      featscope view runs/s2anet
      featscope view runs/baseline runs/ours
      featscope view runs/s2anet -l 'bbox_head_refine.*'
      featscope view folder_of_npy --no-open
      featscope view runs/s2anet --explain --port 8080
    """
    try:
        from featscope.viewer.server import LOOPBACK, Address
    except ImportError as error:
        raise MissingPackageError(f"the viewer needs {error.name}: pip install 'featscope[view]'") from None
    from featscope.cli.console import remark, say
    from featscope.viewer.answers import Viewer

    viewer = Viewer(folders, layers or (), sample, explain=_explain if explain else None)
    address = Address(host, port)
    say(f"featscope view: {address.url}")
    if os.environ.get("SSH_CONNECTION"):
        server = os.environ["SSH_CONNECTION"].split()[2]
        say("on your own machine, type this and open the same address there:")
        say(f"  ssh -N -L {address.port}:127.0.0.1:{address.port} {_user()}{server}")
    if host not in LOOPBACK:
        remark(f"anyone who can reach {host} and knows this address can see the run and its images")
    say("Ctrl-C ends it")
    sys.stdout.flush()
    if browser and _desktop():
        import webbrowser

        webbrowser.open(address.url)
    address.serve(viewer)


def _user() -> str:
    name = os.environ.get("USER") or os.environ.get("LOGNAME")
    return f"{name}@" if name else ""


def _desktop() -> bool:
    """Whether a browser could show up here."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _explain(run: Path, sample: str, box: int, *, layer: str, method: str) -> None:
    """Run `featscope explain` in a process of its own, as a model may take much memory, or crash."""
    words = ["--sample", glob_escape(sample), "--box", str(box), "-l", layer, "-m", method, "--no-panel"]
    command = [sys.executable, "-m", "featscope", "explain", str(run), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("error:")] or said[-1:] or [f"exit code {done.returncode}"]
        raise BadRunError("; ".join(line.replace("error: ", "", 1) for line in errors))
