"""What a run holds, as rows: its folders, and its maps one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from featscope.errors import BadArrayError
from featscope.store.files import read_npy_shape, size_text
from featscope.store.tables import Rows

if TYPE_CHECKING:
    from featscope.store.index import Form
    from featscope.store.maps import MapFile
    from featscope.store.reader import Run

_SHOWN_SHAPES = 3


class Content(NamedTuple):
    """The maps of one level of a folder.

    shape: of one sample's map, as `256 x 32 x 31`; a few of them where they differ. stride: '' of what is not a map of
    the image. maps: files. place: how it is known where their cells lie. All but folder, shape and maps are empty in
    a folder without a manifest.
    """

    folder: str
    layer: str
    field: str
    level: Optional[int]
    shape: str
    stride: str
    maps: int
    size: str
    place: str


def contents(run: Run) -> Rows[Content]:
    """What maps a run holds, a row for each level of a folder."""
    forms = run.index.forms() if run.index is not None else None
    return Rows(Content._fields, contents_of_files(run) if forms is None else _recorded(run, forms))


def _recorded(run: Run, forms: Iterable[Form]) -> Iterator[Content]:
    groups: Dict[Tuple[str, str, str, int], List[Form]] = {}
    for form in forms:
        groups.setdefault((form.folder, form.layer, form.field, form.level), []).append(form)
    for (folder, layer, field, level), same in groups.items():
        measured = run.places.get((layer, field, level))
        places = ["measured" if measured is not None and not measured.refused else one.place for one in same]
        yield Content(
            folder=folder,
            layer=layer,
            field=field,
            level=level,
            shape=some_of([form.shape for form in same]),
            stride=some_of([form.stride for form in same]),
            maps=sum(form.maps for form in same),
            size=size_text(sum(form.bytes for form in same)),
            place=", ".join(dict.fromkeys(place or "not a map" for place in places)),
        )


def contents_of_files(run: Run, on_error: Callable[[str], None] = lambda text: None) -> Iterator[Content]:
    """The folders of a run without a manifest, by the headers of its files.

    on_error: takes what is wrong with a file that cannot be read; it is counted.
    """
    found: Dict[str, Tuple[List[str], List[int]]] = {}
    for map_file in run.maps:
        shapes, sizes = found.setdefault(map_file.folder, ([], []))
        try:
            shapes.append(" x ".join(map(str, read_npy_shape(map_file.path))))
            sizes.append(map_file.path.stat().st_size)
        except (BadArrayError, OSError) as error:
            on_error(str(error))
            sizes.append(0)
    for folder, (shapes, sizes) in found.items():
        yield Content(
            folder or ".",
            "",
            field="",
            level=None,
            shape=some_of(shapes),
            stride="",
            maps=len(sizes),
            size=size_text(sum(sizes)),
            place="",
        )


def some_of(texts: Iterable[str]) -> str:
    """A few of these texts, each once, and how many more there are.

    >>> some_of(["a", "b", "a", "c", "d", "e"])
    'a, b, c, 2 more'
    """
    different = list(dict.fromkeys(filter(None, texts)))
    more = len(different) - _SHOWN_SHAPES
    return ", ".join(different[:_SHOWN_SHAPES]) + (f", {more} more" if more > 0 else "")


class MapRow(NamedTuple):
    """One image's map.

    shape: of this map, as (256, 32, 31). stride: pixels of the input from cell to cell, (y, x); None of what is not a
    map of the image. place: how it is known where its cells lie. file: folder/file; number: the map's place in it, None
    where its rows are not those of samples, as of regions of interest. bytes: of this map, as it is stored.
    """

    sample: str
    layer: str
    field: str
    level: Optional[int]
    shape: Tuple[int, ...]
    dtype: str
    stride_y: Optional[float]
    stride_x: Optional[float]
    place: str
    bytes: int
    file: str
    number: Optional[int]


def map_rows(maps: Iterable[MapFile]) -> Rows[MapRow]:
    """A row for each image's map in these files."""
    return Rows(MapRow._fields, (row for map_file in maps for row in _rows_of(map_file)))


def _rows_of(map_file: MapFile) -> Iterator[MapRow]:
    record, place = map_file.record, map_file.place()
    file = f"{map_file.folder}/{map_file.path.name}" if map_file.folder else map_file.path.name
    if record is None:
        shape = read_npy_shape(map_file.path)
        yield MapRow(
            "",
            "",
            field="",
            level=None,
            shape=shape,
            dtype="",
            stride_y=None,
            stride_x=None,
            place="",
            bytes=map_file.path.stat().st_size,
            file=file,
            number=None,
        )
        return
    stride = place.stride if place is not None else (None, None)
    count = record.shape[0] if record.shape else 0
    each = count == len(map_file.samples) and count > 0
    for number, sample in enumerate(map_file.samples if each else [None]):
        if sample is not None and not map_file.wants(sample):
            continue
        yield MapRow(
            sample=sample.id if sample is not None else ", ".join(one.id for one in map_file.samples),
            layer=record.layer,
            field=record.field,
            level=record.level,
            shape=tuple(record.shape[1:] if each else record.shape),
            dtype=map_file.dtype,
            stride_y=stride[0],
            stride_x=stride[1],
            place=place.known if place is not None else "",
            bytes=record.bytes // count if each else record.bytes,
            file=file,
            number=number if each else None,
        )
