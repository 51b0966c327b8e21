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
  are usual, and the colours begin at the median. Until this page was made they began at the first percentile; the
  order of the cells was the same, and the energy at level 0 of S2ANet-tiny's neck 1.86 in place of 2.71. The same
  holds for class scores: most cells have the score of the ground.
- **Where torch-cam or grad-cam's mean is above featscope** the mean over channels happens to be high at objects and
  negative elsewhere (the neck of the demo's detector, and level 3 of S2ANet-tiny's). The positive part of it, squared
  by torch-cam, then leaves a few bright spots on some of the objects and nothing else: the pictures below show it. At
  other layers the same formula leaves less than chance (the last level of YOLOX-nano's backbone) or nothing (all class
  scores), so that it is not a default that one can trust.
- **Eigen-CAM** is above featscope on some of the smallest maps, of 13 x 13 cells and fewer, and below 1 on large ones:
  the sign of a component is free, and the ground may be what is bright.
- **YOLOX-nano's neck** shows objects in nobody's picture: all figures are between 0.79 and 1.14. The four images have
  large objects that fill much of them, and the neck answers to edges and corners. There the median as the first colour
  costs featscope a little: 0.88 in place of 0.95 at level 0.
- **Regressions** say in every cell where the sides of a box are, whether or not there is an object. featscope draws
  their sign around zero, and is below others in most of these rows. Contrast was tried in its place: better in the
  first head of the demo's detector (4.27 in place of 0.70 at level 0), worse in YOLOX-nano's and in the second head's
  level 1 (0.12 in place of 0.19), so that nothing was changed.
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
