"""The result of drawing a run: counts, errors, and a preview of the first pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Iterator, List, Mapping, Sequence, Tuple

from PIL import Image

from featscope.render.results import contact_sheet
from featscope.store.files import size_text
from featscope.words import counted

_SHOWN = 8  # the most pictures in a notebook
_SHOWN_TEXTS = 5  # the most errors, and the most remarks
_THUMBNAIL = 440  # pixels of the width; twice as many as on the page, for high-resolution screens


@dataclass(frozen=True, repr=False)
class Pictures:
    """The pictures that `featscope.draw_run` or `featscope.draw_mosaics` has drawn. A notebook shows some of them.

    >>> Pictures(Path("runs/mine/heat"), maps=2, count=4, skipped=0, bytes=310_000, errors=[], remarks=[], first=[])
    <4 pictures of 2 maps, 0.3 MB, in runs/mine/heat>
    """

    folder: Path
    """The folder of the pictures."""

    maps: int
    """Number of map files, without those of arrays that are not maps of the image."""

    count: int
    """Number of pictures that were drawn."""

    skipped: int
    """Number of pictures that were up to date and were not drawn again."""

    bytes: int
    """Size of the pictures that were drawn."""

    errors: List[str]
    """One text for each part that failed. The other parts are drawn."""

    remarks: List[str]
    """What the user should know about the pictures."""

    first: List[Path]
    """Some of the pictures, drawn or up to date."""

    def __str__(self) -> str:
        kept = f" ({self.skipped} more {'was' if self.skipped == 1 else 'were'} up to date)" if self.skipped else ""
        of = counted(self.maps, "map")
        return f"{counted(self.count, 'picture')} of {of}, {size_text(self.bytes)}, in {self.folder}{kept}"

    def __repr__(self) -> str:
        return f"<{self}{f'; {len(self.errors)} failed: see .errors' if self.errors else ''}>"

    def _repr_html_(self) -> str:
        said = [f"<p>{escape(str(self))}</p>"]
        for label, texts in (("error", self.errors), ("note", self.remarks)):
            said += [f"<p><b>{label}:</b> {escape(text)}</p>" for text in texts[:_SHOWN_TEXTS]]
            if len(texts) > _SHOWN_TEXTS:
                said.append(
                    f"<p>... and {len(texts) - _SHOWN_TEXTS} more: see .{label}s</p>".replace(".note", ".remark")
                )
        return "".join(said) + contact_sheet(self._thumbnails())

    def _thumbnails(self) -> Iterator[Tuple[str, str]]:
        """Yield some pictures, made small, as (source of the image, path); if possible, heat maps over their images."""
        over = [path for path in self.first if path.stem.endswith("_overlay")]
        for path in (over or self.first)[:_SHOWN]:
            try:
                with Image.open(path) as opened:
                    small = opened.convert("RGB")
            except (OSError, Image.DecompressionBombError):  # for example, if it was removed in the meantime
                continue
            small.thumbnail((_THUMBNAIL, 2 * _THUMBNAIL))
            out = io.BytesIO()
            small.save(out, "PNG")
            source = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
            yield source, path.relative_to(self.folder).as_posix()


def values_remarks(nan: int, inf: int, constant: int = 0) -> List[str]:
    """Return remarks about NaN and infinite values, and about constant maps."""
    said = []
    if nan:
        said.append(f"{counted(nan, 'cell')} {'is' if nan == 1 else 'are'} NaN (magenta)")
    if inf:
        said.append(f"{counted(inf, 'cell')} {'is' if inf == 1 else 'are'} infinite (green)")
    if constant:
        said.append(f"{counted(constant, 'map')} {'is' if constant == 1 else 'are'} constant and drawn in one colour")
    return said


def no_maps_remarks(folders: Sequence[str], readings: Mapping[str, str]) -> List[str]:
    """Return a remark about arrays that were not drawn because they do not have the rows and columns of the image.

    folders: the folder of each such array. readings: for some layers, why their arrays are not maps.
    """
    if not folders:
        return []
    names = list(dict.fromkeys(folders))
    some = ", ".join(names[:3]) + (f" and {counted(len(names) - 3, 'more folder')}" if len(names) > 3 else "")
    why = "; ".join(f"{layer}: {text}" for layer, text in list(readings.items())[:3])
    many = (
        "1 array is not a map of the image and was"
        if len(folders) == 1
        else (f"{len(folders)} arrays are not maps of the image and were")
    )
    return [f"{many} not drawn: {some}" + (f" ({why})" if why else "")]
