"""What drawing a run gave: counts, what failed, and a look at the first pictures."""

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

_SHOWN = 8
_SHOWN_TEXTS = 5
_THUMBNAIL = 440  # pixels: twice its width on the page, for fine screens


@dataclass(frozen=True, repr=False)
class Pictures:
    """The pictures of a run; `featscope.draw_run` and `featscope.draw_mosaics` give them, and a notebook shows some.

    >>> Pictures(Path("runs/mine/heat"), maps=2, count=4, skipped=0, bytes=310_000, errors=[], remarks=[], first=[])
    <4 pictures of 2 maps, 0.3 MB, in runs/mine/heat>

    folder: where they are. maps: the map files that they are of. count, bytes: of those that were drawn. skipped: those
    that were up to date and stayed. errors: one text for each part that failed; the others are drawn. remarks: what
    should be known of the pictures. first: some of the files.
    """

    folder: Path
    maps: int
    count: int
    skipped: int
    bytes: int
    errors: List[str]
    remarks: List[str]
    first: List[Path]

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
        """Some pictures, small, as the source of an image each; those over their images where there are any."""
        over = [path for path in self.first if path.stem.endswith("_overlay")]
        for path in (over or self.first)[:_SHOWN]:
            try:
                with Image.open(path) as opened:
                    small = opened.convert("RGB")
            except (OSError, Image.DecompressionBombError):  # it was removed since, say
                continue
            small.thumbnail((_THUMBNAIL, 2 * _THUMBNAIL))
            out = io.BytesIO()
            small.save(out, "PNG")
            source = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
            yield source, path.relative_to(self.folder).as_posix()


def values_remarks(nan: int, inf: int, constant: int = 0) -> List[str]:
    """What to say of values that are no numbers, and of maps that are all one value."""
    said = []
    if nan:
        said.append(f"{counted(nan, 'cell')} {'is' if nan == 1 else 'are'} NaN (magenta)")
    if inf:
        said.append(f"{counted(inf, 'cell')} {'is' if inf == 1 else 'are'} infinite (green)")
    if constant:
        said.append(f"{counted(constant, 'map')} {'is' if constant == 1 else 'are'} constant and drawn in one colour")
    return said


def no_maps_remarks(folders: Sequence[str], readings: Mapping[str, str]) -> List[str]:
    """What to say of arrays that were not drawn, as they have no rows and columns of the image.

    readings: of the run, why.
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
