"""The frame of a sample, in which its image, its maps and its boxes lie, and what is not proved about it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from featscope.arrays.boxes import areas_of, corners_of
from featscope.arrays.frames import in_whole_pixels
from featscope.arrays.geometry import cells_inside, cells_of_image
from featscope.errors import BadImageError, FeatscopeError
from featscope.records import Boxes, Geometry, Place, Sample, Size, class_name
from featscope.render.png import encode_rgb
from featscope.store.detections import STATES, sources_words
from featscope.store.feature_maps import FeatureMap
from featscope.store.files import inside, open_file
from featscope.store.images import ORIENTATION, blaming
from featscope.store.sample_images import input_image, lies_in_input, sample_image
from featscope.viewer.replies import BoxOut, CellOut, PlacementOut

_PASSED_ON = {
    "JPEG": ("image/jpeg", ("L", "RGB")),
    "PNG": ("image/png", ("L", "RGB", "P")),
    "WEBP": ("image/webp", ("RGB",)),
}
"""Formats of image files that a browser shows as every framework reads them, with their modes."""

_CHANGING = {"transparency", "icc_profile", "gamma", "chromaticity"}
"""What a browser heeds in a file and no framework does: other colours would be shown than the network saw."""

_SMALLEST = 512  # pixels of the longer side of a map that has no image


class Picture(NamedTuple):
    """An image file for the browser."""

    data: bytes
    media: str


@dataclass(frozen=True)
class Scene:
    """The frame of a sample."""

    run: Path
    """The folder of the run."""

    sample: Sample

    geometry: Optional[Geometry]
    """How the frame became the network's input; None if nobody knows, so maps fill the frame."""

    frame: Optional[Size]
    """Height and width in pixels; None if the sample has no image, so that each map has a frame of its own."""

    space: str
    """'original' or 'input': the pixels in which boxes are drawn, as in `Boxes.frame`."""

    notes: Tuple[str, ...] = ()
    """What is not proved, or wrong."""

    @classmethod
    def of(cls, run: Path, sample: Sample) -> Scene:
        """Find the frame of a sample. Only the header of an image is read, if that is needed."""
        notes = list(_doubts(sample))
        if sample.geometry is not None:
            return cls(
                run,
                sample,
                geometry=sample.geometry,
                frame=sample.geometry.original,
                space="original",
                notes=tuple(notes),
            )
        if lies_in_input(sample):
            try:
                path = inside(run, sample.input)
                with blaming(path), open_file(path) as file, Image.open(file) as image:
                    size = (image.height, image.width)
                whole = Geometry(size, size, size)
                return cls(run, sample, geometry=whole, frame=size, space="input", notes=tuple(notes))
            except FeatscopeError as error:
                notes.append(str(error))
        return cls(run, sample, geometry=None, frame=None, space="original", notes=tuple(notes))

    def picture(self) -> Picture:
        """Return the image of the frame. Raises `BadImageError` if there is none, and says why."""
        passed = self._passed_on() if self.space == "original" else None
        if passed is not None:
            return passed
        problems: List[str] = []
        if self.space == "input":
            pixels = input_image(self.run, self.sample, problems)[0]
        else:
            pixels = sample_image(self.run, self.sample, problems, problems)
        if pixels is None:
            raise BadImageError("; ".join(problems) or "the run has no image of this sample")
        return Picture(encode_rgb(pixels, {}), "image/png")

    def thumbnail(self, longest: int = 96) -> Picture:
        """Return a small JPEG of the image."""
        whole = self.picture()
        with Image.open(io.BytesIO(whole.data)) as image:
            image.draft("RGB", (longest * 2, longest * 2))
            small = image.convert("RGB")
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        out = io.BytesIO()
        small.save(out, "JPEG", quality=80)
        return Picture(out.getvalue(), "image/jpeg")

    def _passed_on(self) -> Optional[Picture]:
        """Return the image file unchanged if a browser shows it exactly as the framework read it."""
        sample = self.sample
        if not sample.path or sample.frame is not None or "grey" in sample.reading:
            return None
        try:
            with open_file(Path(sample.path)) as file:
                data = file.read()
            with Image.open(io.BytesIO(data)) as image:
                media, modes = _PASSED_ON.get(str(image.format), ("", ()))
                if image.mode not in modes or (image.height, image.width) != self.frame:
                    return None
                if getattr(image, "n_frames", 1) > 1 or image.getexif().get(ORIENTATION, 1) != 1:
                    return None
                if _CHANGING & set(image.info):
                    return None
        except Exception:  # noqa: BLE001 (whatever is wrong is said by the reader of images, which is tried next)
            return None
        return Picture(data, media)

    def placement_of(self, shape: Size, place: Optional[Place]) -> PlacementOut:
        """Return where the cells of a map of this shape lie in the frame."""
        rows, columns = shape
        if self.geometry is None:
            cell = max(1, round(_SMALLEST / max(rows, columns)))
            return PlacementOut(self.frame or (rows * cell, columns * cell), (0.0, 0.0, float(columns), float(rows)))
        geometry = in_whole_pixels(self.geometry)
        cells = cells_of_image(shape, geometry, place.stride if place else None, place.first if place else None)
        return PlacementOut(geometry.original, cells, geometry.crop, geometry.flip)

    def cells_inside(self, shape: Size, place: Optional[Place]) -> Tuple[int, int, int, int]:
        """Return the rows and columns of a map that lie on the image: (first, last + 1, first, last + 1)."""
        found = cells_inside(shape, self.geometry, place.stride if place else None, place.first if place else None)
        rows, columns = (part.indices(length) for part, length in zip(found, shape))
        return rows[0], rows[1], columns[0], columns[1]

    def boxes(
        self,
        boxes: Optional[Boxes],
        classes: Sequence[str],
        traced: bool = False,
        shapes: Optional[Mapping[int, Size]] = None,
        group: Optional[int] = None,
    ) -> List[BoxOut]:
        """Return boxes as polygons.

        traced: with their sources, which are those of the sample's detections. shapes: of the head's levels. group: the
        number of the group that holds its scores.
        """
        if boxes is None or not boxes.boxes or boxes.frame != self.space:
            return []
        corners = corners_of(boxes.form, boxes.boxes)
        sizes = np.sqrt(areas_of(boxes.form, boxes.boxes))
        found = []
        for number, (polygon, label) in enumerate(zip(corners, boxes.labels)):
            box = BoxOut(
                [round(float(value), 2) for value in polygon.ravel()],
                label,
                class_name(classes, label),
                boxes.scores[number] if boxes.scores else None,
                round(float(sizes[number]), 1),
            )
            if traced:
                sources = self.sample.sources[number] if self.sample.sources else None
                box.state = (
                    "not traced" if sources is None else STATES[min(len(sources), 2) - 1] if sources else STATES[2]
                )
                box.source = sources_words(sources) if sources else box.state
                box.cells = [
                    CellOut(s.level, s.row, s.column, (shapes or {}).get(s.level), group)
                    for s in sources or ()
                    if s.kind == "cell"
                ]
            found.append(box)
        return found


def _doubts(sample: Sample) -> List[str]:
    """Say what is not proved about the place of a sample's maps."""
    agreement, found = sample.agreement, []
    if agreement is not None and agreement.verdict == "disagrees":
        why = f": {agreement.why}" if agreement.why else ""
        found.append(f"the image does not agree with what the network saw{why}")
    elif agreement is not None and agreement.verdict == "not verifiable":
        why = f": {agreement.why}" if agreement.why else ""
        found.append(f"the position of the image in the input could not be verified{why}")
    if sample.geometry is None and sample.path:
        found.append("it is unknown how the image lies in the input")
    if sample.path and sample.frame is None and not os.path.exists(sample.path):
        found.append(f"the image file is gone: {sample.path}")
    return found


def doubts_of_map(feature_map: FeatureMap, place: Optional[Place]) -> List[str]:
    """Say what is not proved about a map's axes and place."""
    record = feature_map.file.record
    if record is None:
        return ["there is no manifest: that the last two axes are rows and columns is assumed, and so is the place"]
    found = []
    if not record.axes:
        found.append("the axes were not followed through the network")
    if place is None or place.known == "assumed":
        found.append("the place of the cells is assumed, so it may be wrong by up to half a cell")
    return found
