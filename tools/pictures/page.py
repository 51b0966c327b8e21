"""The page that is written of what was measured."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

import numpy as np

from pictures.energy import FADED, OURS, Row
from pictures.others import PEERS

INTRODUCTION = """# Pictures side by side

`python tools/compare_pictures.py` wrote this page: the same feature maps as featscope's default look draws them, and as
mmengine, grad-cam and torch-cam draw them, each by its own functions.

What each does with a map of many channels, where nobody chooses anything:

- **featscope** looks at what the layer is. Features are drawn as their contrast, the distance of each cell's features
  from those of the mean cell, with colours from the median distance to the 99th percentile; class scores as the highest
  score of each cell, from the median score on; box regressions with their sign.
{peers}
grad-cam and torch-cam have no reduction for a map without a class. Their formula, the positive part of a weighted sum
over channels, is used with equal weights; torch-cam's overlay squares what it colours. Where the mean over channels is
negative everywhere, as that of class scores before the sigmoid, nothing is left: 0.00.

**Energy**: the share of a picture's heat that lies inside the labelled boxes, over the share of the area that the boxes
take; means over the images, which count alike. 1.00 is what a picture would have that says nothing. The heat is how far
along the colour map a pixel is, 0 to 1 (from the middle, where zero is in the middle). All maps are laid on the image
at featscope's place for their cells: what is compared is the look alone. In the column *as seen* ours is weighted with
how opaque each colour is over the photo, as weak values let the image through; it is shown, and not compared.
**Bold** is the highest of a row.

Not here: a Faster R-CNN and a ViT, as no trained weights of either are at hand without a download, and the maps of
random weights show no objects.
"""

READING = """
## What the figures say

- **Features.** A cell's distance from the mean cell is never zero, the more channels the farther: half of the cells
  are usual, and our colours begin at the median. With colours from the first percentile on, as before, every layer
  had less energy in its boxes (neck of S2ANet-tiny, level 0: 1.86 in place of 2.72), though the order of the cells is
  the same.
- **Where another is above us** the mean over channels happens to be high at objects, and to be negative elsewhere
  (the neck of the demo's detector; level 3 of S2ANet-tiny's). The positive part of it, squared by torch-cam, then
  leaves a few bright spots on some objects and nothing else: the pictures below show it. In the next model the same
  formula leaves less than chance, or nothing (YOLOX-nano's backbone, level 2; all class scores).
- **Eigen-CAM** is above us on some maps of 16 x 16 cells and fewer, where the first component is what is large in the
  image, and below 1 on maps of high resolution: the sign of a component is free, and the ground may be bright.
- **YOLOX-nano's neck** has nothing to win for anybody: all are between 0.8 and 1.15. The four images have large
  objects that fill much of them, and the neck answers to edges and corners.
- **Regressions** say where the sides of a box are, in every cell, object or not. We draw their sign around zero; none
  of the figures means much.
"""


def page(
    measured: Mapping[str, List[Row]], words: Mapping[str, str], sheets: Mapping[str, Dict[str, List[str]]]
) -> str:
    """The page, as Markdown. measured: rows by model. sheets: the pictures that may be shown, by model and layer."""
    parts = [INTRODUCTION.replace("{peers}", "".join(f"- **{name}**: {peer.words}.\n" for name, peer in PEERS.items()))]
    parts.append("## Energy inside the labelled boxes\n")
    parts.append(_summary(measured))
    parts.append(READING)
    for model, rows in measured.items():
        parts.append(
            f"\n### {model}\n\n{words[model][0].upper()}{words[model][1:]}; {max(r.images for r in rows)} images.\n"
        )
        parts.append(_table(rows))
    for model, layers in sheets.items():
        parts.append(f"\n## {model}, drawn\n")
        parts.append(
            "Of the other models no pictures are here, as their images may not be published; `--work` has them."
        )
        for layer, files in layers.items():
            parts.append(f"\n{layer}:\n\n" + "\n".join(f"![{layer}](images/pictures/{file})" for file in files) + "\n")
    return "\n".join(parts)


def _summary(measured: Mapping[str, List[Row]]) -> str:
    """The geometric means over layers, and in how many of them ours is at least the best of the others."""
    names = [OURS, *PEERS]
    lines = [_line(["model", "maps", *names, "layers where featscope is at least the best other"])]
    lines.append(_line(["---"] * (len(names) + 3)))
    for model, rows in measured.items():
        for kind, some in (("features and scores", _judged(rows)), ("regressions", _regressions(rows))):
            if not some:
                continue
            means = [float(np.exp(np.mean([np.log(max(row.energies[name], 0.01)) for row in some]))) for name in names]
            ahead = sum(row.energies[OURS] >= _best(row) - 0.005 for row in some)
            shown = [f"**{mean:.2f}**" if mean == max(means) else f"{mean:.2f}" for mean in means]
            lines.append(_line([model, kind, *shown, f"{ahead} of {len(some)}"]))
    return "\n".join(lines) + "\n\nGeometric means over layers and levels; a picture without heat counts as 0.01.\n"


def _table(rows: Sequence[Row]) -> str:
    names = [OURS, FADED, *PEERS]
    heads = ["featscope, *as seen*" if name == FADED else name for name in names]
    lines = [_line(["layer", "level", "drawn by featscope", *heads]), _line(["---"] * (len(names) + 3))]
    for row in rows:
        best = max(value for name, value in row.energies.items() if name != FADED)
        figures = {name: f"{row.energies[name]:.2f}" for name in names}
        shown = [
            f"**{figure}**" if row.energies[name] == best and name != FADED else figure
            for name, figure in figures.items()
        ]
        lines.append(_line([row.layer, str(row.level), row.reduction, *shown]))
    return "\n".join(lines)


def _best(row: Row) -> float:
    return max(row.energies[name] for name in PEERS)


def _regressions(rows: Sequence[Row]) -> List[Row]:
    return [row for row in rows if row.layer.endswith("bbox_preds")]


def _judged(rows: Sequence[Row]) -> List[Row]:
    return [row for row in rows if not row.layer.endswith("bbox_preds")]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
