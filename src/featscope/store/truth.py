"""Ground truth from label files, for the samples of a run that was captured without it."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Collection, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from featscope.arrays.boxes import corners_of
from featscope.errors import BadRunError
from featscope.records import Boxes, Sample, Size
from featscope.store.label_files import Label, Labelled, open_labels
from featscope.store.reader import Run
from featscope.words import counted

_NAMED = 5
"""The most names that a note lists."""


class Truth(NamedTuple):
    """Ground truth from label files."""

    boxes: Mapping[str, Boxes]
    """The true boxes of each sample that has labels, by its id, in pixels of the original image."""

    notes: List[str]
    """What could not be matched or read, with numbers and names."""


def read_truth(path: Union[str, Path], run: Run, rotated: bool = False) -> Truth:
    """Read the ground truth of a run's samples from label files.

    >>> Path("labels").mkdir(exist_ok=True)
    >>> _ = Path("labels/harbour.txt").write_text("10 20 110 20 110 80 10 80 ship 1")
    >>> truth = read_truth("labels", featscope.open_run("runs/fpn"))
    >>> truth.boxes["harbour"], truth.boxes["harbour"].ignored, truth.notes
    (<1 box of the form quad, in pixels of the original>, ['difficult'], [])

    path: one of

    - a COCO .json file. `iscrowd` makes an object ignored as a crowd. rotated: a segmentation of one polygon with four
      corners is the box; otherwise, and for all other segmentations, `bbox` is.
    - a folder of DOTA's labelTxt, with lines `x1 y1 x2 y2 x3 y3 x4 y4 class difficult` in pixels. A difficulty above 0
      makes an object ignored as difficult, as in DOTA's own evaluation.
    - a folder of YOLO's .txt, with lines `class x y w h` or `class x1 y1 x2 y2 x3 y3 x4 y4`, as shares of the image's
      width and height.

    Files are found in subfolders too. A sample is matched by the name of its image file without suffix, and by the
    name of its folder where several images have the name; without a path by its id. Classes are matched by name to
    those of the run, YOLO's by index. Raises `BadRunError` if nothing can be read or nothing matches.
    """
    if run.info is None:
        raise BadRunError(f"{run.folder} has no manifest, so it does not know its samples; give the folder of a run")
    reader = TruthReader(path, run.info.classes, run.samples.values())
    found = {name: reader.boxes_of(sample, rotated) for name, sample in run.samples.items()}
    if reader.lacking and not reader.known:
        has = f"its classes are {_some(run.info.classes)}" if run.info.classes else "it does not know their names"
        raise BadRunError(f"the model has none of the classes in {path}: {_some(list(reader.lacking))}; {has}")
    return Truth({name: boxes for name, boxes in found.items() if boxes is not None}, reader.notes())


def detects_rotated(sample: Sample) -> bool:
    """Whether the detections of a sample are rotated boxes."""
    return sample.predictions is not None and sample.predictions.form != "xyxy"


class TruthReader:
    """Reads the labels of one sample after the other, and remembers what could not be matched.

    classes: names of the model's classes. samples: all samples that will be asked for; only their ids and paths count.
    """

    def __init__(self, path: Union[str, Path], classes: Sequence[str], samples: Iterable[Sample]) -> None:
        self._path, self._labels = Path(path), open_labels(Path(path))
        self._classes, self._indices = classes, {name: index for index, name in enumerate(classes)}
        self._places, self._ambiguous = _match(self._labels.images, samples)
        if not self._places and not self._ambiguous:
            known = [one.stem or one.id for one in self._labels.images]
            raise BadRunError(
                f"no image has labels in {path}: they are of {_some(known)}. The names of images and labels must "
                "agree, apart from their suffix"
            )
        self._unlabelled: List[str] = []
        self._unfit: List[str] = []
        self.lacking: Counter[str] = Counter()
        """Number of boxes of each class that the model lacks."""
        self.known = 0
        """Number of boxes of the model's classes."""

    def boxes_of(self, sample: Sample, rotated: bool = False) -> Optional[Boxes]:
        """Return the true boxes of a sample; None if it has no labels. rotated: as of `read_truth`."""
        place = self._places.get(_key(sample))
        if place is None:
            self._unlabelled += [] if _key(sample) in self._ambiguous else [sample.id]
            return None
        size = sample.geometry.original if sample.geometry is not None else None
        wrong = self._misfit(self._labels.images[place].size, size)
        if wrong:
            self._unfit.append(f"{sample.id} ({wrong})")
            return None
        labels = [label.rotated() if rotated else label for label in self._labels.read(place, size)]
        known = [(label, self._index(label)) for label in labels]
        return _as_boxes([(label, index) for label, index in known if index is not None])

    def _misfit(self, told: Optional[Size], size: Optional[Size]) -> str:
        if size is None:
            return "the size of its image is unknown" if self._labels.needs_size else ""
        if told is not None and told != size:
            return f"the labels are of {told[0]} x {told[1]} pixels, the image has {size[0]} x {size[1]}"
        return ""

    def _index(self, label: Label) -> Optional[int]:
        """Return the index of a label's class; None if the model lacks it."""
        index = self._indices.get(label.label) if isinstance(label.label, str) else label.label
        if index is None or (self._classes and index >= len(self._classes)):
            self.lacking[str(label.label)] += 1
            return None
        self.known += 1
        return index

    def notes(self) -> List[str]:
        """Return what could not be matched or read, until now."""
        used = set(self._places.values())
        unclear = {Path(key).stem for key in self._ambiguous}
        unused = [one for place, one in enumerate(self._labels.images) if place not in used and one.stem not in unclear]
        names = [one.stem or one.id for one in unused]
        found = [
            (self._unlabelled, "sample", "no labels"),
            (sorted(unclear), "name", "several images or several labels, which are not used"),
            (self._unfit, "sample", "labels that do not fit"),
        ]
        notes = [f"{counted(len(some), noun)} with {what}: {_some(some)}" for some, noun, what in found if some]
        if names:
            notes.append(f"{counted(len(names), 'labelled image')} that the run lacks: {_some(names)}")
        if self.lacking:
            lacking = [f"{name} ({number})" for name, number in self.lacking.most_common()]
            number = counted(sum(self.lacking.values()), "box", "boxes")
            notes.append(f"{number} of classes that the model lacks: {_some(lacking)}")
        problems = list(dict.fromkeys(self._labels.problems))
        if problems:
            notes.append(f"{counted(len(problems), 'damaged label')}: {_some(problems)}")
        return [f"{self._path}: {note}" for note in notes]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _as_boxes(labels: Sequence[Tuple[Label, int]]) -> Boxes:
    """Return labels as boxes of one form: upright ones become quadrilaterals beside others."""
    forms = {label.form for label, _ in labels}
    boxes = [label.box for label, _ in labels]
    if len(forms) > 1:
        boxes = [corners_of(label.form, [label.box]).reshape(-1).tolist() for label, _ in labels]
    ignored = [label.ignored for label, _ in labels]
    form = "quad" if "quad" in forms else "xyxy"
    return Boxes(form, boxes, [index for _, index in labels], ignored=ignored if any(ignored) else [])


def _key(sample: Sample) -> str:
    """Return what tells a sample's image from others: its path, or the id if it has no file of its own."""
    return sample.path if sample.path and sample.frame is None else sample.id


def _match(images: Sequence[Labelled], samples: Iterable[Sample]) -> Tuple[Dict[str, int], Set[str]]:
    """Match labelled images to samples: the place of the image by the key of the sample, and the ambiguous keys."""
    by_stem: Dict[str, List[int]] = defaultdict(list)
    for place, one in enumerate(images):
        by_stem[one.stem].append(place)
    by_id = {one.id: place for place, one in enumerate(images) if one.id}
    keys: Dict[str, Dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        key = _key(sample)
        keys[Path(key).stem if key == sample.path else key][key] = sample
    places: Dict[str, int] = {}
    ambiguous: Set[str] = set()
    for stem, of_stem in keys.items():
        labelled = by_stem.get(stem, [])
        for key, sample in of_stem.items():
            found = _fitting(images, labelled, key, of_stem) if labelled else _by_id(images, by_id, sample)
            if len(found) == 1:
                places[key] = found[0]
            elif labelled:
                ambiguous.add(key)
    return places, ambiguous


def _fitting(images: Sequence[Labelled], labelled: Sequence[int], key: str, keys: Collection[str]) -> Sequence[int]:
    """Return those of some labelled images that an image can be. keys: all images of its name."""
    if len(labelled) == 1 and len(keys) == 1:
        return labelled
    folder = Path(key).parent.name
    if sum(Path(other).parent.name == folder for other in keys) > 1:
        return []
    return [place for place in labelled if images[place].folder == folder]


def _by_id(images: Sequence[Labelled], by_id: Mapping[str, int], sample: Sample) -> List[int]:
    """Return the labelled image with the id of a sample, unless both have a file name: those differ."""
    place = by_id.get(sample.id)
    return [] if place is None or (sample.path and images[place].stem) else [place]
