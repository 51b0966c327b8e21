"""The files of the page."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Dict, List

MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Suffix -> type of a file."""

FOLDER = Path(__file__).with_name("static")

IMPORT = re.compile(r"""(?m)^((?:import|export)\b[^'";]*?\bfrom\s*|import\s*)(['"])(\.{1,2}/[^'"]+)\2""")
"""An import of another module of the page: what stands before its path, the quote, the path."""


def static_files() -> Dict[str, bytes]:
    """Return the files of the page by their path below `static`. Nothing else is ever served."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix[1:] in MEDIA:
            found[path.relative_to(FOLDER).as_posix()] = path.read_bytes()
    return found


def path_of(importer: str, path: str) -> str:
    """Return the path below `static` of what a module imports.

    >>> path_of("draw/painter.js", "../dom.js")
    'dom.js'
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), path))


def page_with_modules(files: Dict[str, bytes]) -> bytes:
    """Return the page itself. It names all its modules, so that a browser asks for them at once, not one by one."""
    names: List[str] = ["main.js"]
    for name in names:  # it grows
        found = (path_of(name, match[3]) for match in IMPORT.finditer(files[name].decode()))
        names += [other for other in dict.fromkeys(found) if other not in names]
    links = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in names)
    return files["index.html"].replace(b"<script ", links.encode() + b"<script ", 1)
