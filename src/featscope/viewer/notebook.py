"""The viewer in a notebook: the page with its answers inside, which needs no port."""

from __future__ import annotations

import warnings
from html import escape
from pathlib import Path
from typing import Optional, Sequence, Union

from featscope.errors import FeatscopeWarning
from featscope.store.files import size_text
from featscope.store.reader import Run
from featscope.viewer.answers import Viewer
from featscope.viewer.report import LARGEST_FILE, Frozen, page_with, write_report
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
        # A cell shows a few samples at once; the lists of misses would have the whole run evaluated first.
        self._frozen = Frozen(Viewer([run.folder], layers, sample, most=most), channels=channels, misses=False)

    def save(self, path: Union[str, Path]) -> Path:
        """Write the page to a file, as `featscope report` does, and return the file.

        What cannot be read is left out, and is a warning.
        """
        page = write_report(self._frozen, Path(path)).page
        for error in dict.fromkeys(self._frozen.errors):
            warnings.warn(f"featscope: {error}", FeatscopeWarning, stacklevel=2)
        return page

    def _repr_html_(self) -> str:
        size = self._frozen.estimate()
        if size > LARGEST_FILE:  # the notebook would hold all of it
            words = f"This view would take about {size_text(size)}. Choose fewer samples or layers, or channels=False; "
            return (
                f"<p>{escape(words)}<code>featscope view {escape(str(self._run.folder))}</code> shows everything.</p>"
            )
        # The page has a frame of its own, so its styles and those of the notebook do not meet.
        page = escape(page_with(self._frozen.every()))
        errors = "".join(f"<p>{escape(error)}</p>" for error in dict.fromkeys(self._frozen.errors))
        style = f"width:100%;height:{self._height}px;border:1px solid #8884;border-radius:8px"
        return f'<iframe srcdoc="{page}" style="{style}" title="featscope"></iframe>{errors}'

    def __repr__(self) -> str:
        maps = counted(self._frozen.maps, "map")
        samples = counted(len(self._frozen.samples), "sample")
        return f"<View of {maps} of {samples} of {self._run.folder}; a notebook shows it>"
