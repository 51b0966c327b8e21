"""The files of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Suffix -> type of a file."""

FOLDER = Path(__file__).with_name("static")


def static_files() -> Dict[str, bytes]:
    """Return the files of the page by their path below `static`. Nothing else is ever served."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix[1:] in MEDIA:
            found[path.relative_to(FOLDER).as_posix()] = path.read_bytes()
    return found
