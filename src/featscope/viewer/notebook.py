"""The viewer in a notebook: the page with its answers inside, which needs no port and so works everywhere."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Optional, Sequence, Union

from featscope.store.reader import Run
from featscope.viewer.answers import Viewer
from featscope.viewer.report import Frozen, page_with, write_report
from featscope.words import counted

_MOST = 8  # samples


class View:
    """The viewer of some samples and layers of a run. A notebook shows it.

    >>> view = featscope.open_run("runs/fpn").view(sample="harbour", layer="neck")
    >>> view
    <View of 2 maps of 1 sample of runs/fpn; a notebook shows it>
    >>> view.save("neck.html")                                                  # doctest: +SKIP
    PosixPath('neck.html')
    """

    def __init__(
        self,
        run: Run,
        sample: Optional[str] = None,
        layer: Union[str, Sequence[str], None] = None,
        *,
        most: int = _MOST,
        height: int = 640,
        channels: bool = True,
    ) -> None:
        layers = [layer] if isinstance(layer, str) else list(layer or ())
        self._run, self._height = run, height
        self._frozen = Frozen(Viewer([run.folder], layers, sample, most=most), channels=channels)

    def save(self, path: Union[str, Path]) -> Path:
        """Write the page to a file, as `featscope report` does, and return the file."""
        return write_report(self._frozen, Path(path)).page

    def _repr_html_(self) -> str:
        answers = self._frozen.every()
        # The page has a frame of its own, so its styles and those of the notebook do not meet.
        page = escape(page_with(answers))
        style = f"width:100%;height:{self._height}px;border:1px solid #8884;border-radius:8px"
        return f'<iframe srcdoc="{page}" style="{style}" title="featscope"></iframe>'

    def __repr__(self) -> str:
        maps = counted(self._frozen.maps, "map")
        samples = counted(len(self._frozen.samples), "sample")
        return f"<View of {maps} of {samples} of {self._run.folder}; a notebook shows it>"
