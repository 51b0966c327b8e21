"""Write the demo's page: one HTML file that shows all pictures, without scripts."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Dict, Iterable, List
from urllib.parse import quote

from featscope.store.feature_maps import feature_maps
from featscope.store.files import natural_key
from featscope.store.reader import Run

_STYLE = """
body { margin: 0 auto; max-width: 1500px; padding: 24px; background: #14161a; color: #e8e8e6;
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 36px 0 8px; }
p { color: #a9adb5; margin: 0 0 12px; } code { color: #ffd60a; }
.row { display: grid; grid-template-columns: repeat(5, 1fr); gap: 10px; margin-bottom: 6px; }
.row.images { grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); }
.row.maps { grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); align-items: start; }
figure { margin: 0; } img { width: 100%; display: block; border-radius: 4px; background: #fff; }
.maps img { image-rendering: pixelated; }
figcaption { font-size: 12px; color: #a9adb5; padding: 3px 0; overflow-wrap: anywhere; }
"""


def write_page(folder: Path, run: Run, images: Iterable[Path]) -> Path:
    """Write `index.html` into the demo's folder, and return its path."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>featscope demo</title><style>{_STYLE}</style>",
        "<h1>What the detector sees</h1>",
        f"<p>{len(run.maps)} maps of {len(run.samples)} images, from every part of a small S2A-Net. "
        f"Draw them your way: <code>featscope heat {escape(str(run.folder))} --help</code></p>",
        "<h2>Detections</h2>",
        _row(folder, images, "images"),
    ]
    for layer in sorted({m.folder for m in run.maps}, key=natural_key):
        parts.append(f"<h2>{escape(layer)}</h2>")
        by_sample: Dict[str, List[str]] = {}
        for map_file in (m for m in run.maps if m.folder == layer):
            for one in feature_maps(map_file):
                by_sample.setdefault(one.sample.id if one.sample else "", []).append(one.stem)
        for stems in by_sample.values():
            parts.append(_row(folder, [run.folder / "heat" / layer / f"{stem}_overlay.png" for stem in stems], ""))
        parts.append("<p>The channels behind them</p>")
        stems = [stem for some in by_sample.values() for stem in some]
        parts.append(_row(folder, [run.folder / "render" / layer / f"{stem}.png" for stem in stems], "maps"))
    page = folder / "index.html"
    page.write_text("\n".join(parts) + "</html>\n", encoding="utf-8", errors="backslashreplace")
    return page


def _row(folder: Path, pictures: Iterable[Path], kind: str) -> str:
    figures = []
    for picture in pictures:
        link = quote(os.fsencode(picture.relative_to(folder).as_posix()))
        figures.append(
            f"<figure><a href='{link}'><img loading=lazy src='{link}' alt=''></a>"
            f"<figcaption>{escape(picture.stem)}</figcaption></figure>"
        )
    return f"<div class='row {kind}'>{''.join(figures)}</div>"
