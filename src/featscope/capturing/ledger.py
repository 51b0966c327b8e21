"""The ledger of a capture: numbers batches, gives samples unique ids, and decides which samples are kept.

It does not import torch and serves PyTorch and ONNX alike.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from msgspec.structs import replace

from featscope.errors import BadOptionError, BadRunError
from featscope.records import Policy, Sample
from featscope.store.files import well_formed


class Entry(NamedTuple):
    """A batch in the ledger."""

    number: int
    """Number of the batch, which is part of the file names."""

    samples: List[Sample]
    """The samples with their ids, in the order of the batch."""

    rows: List[int]
    """Indices of the samples that are kept."""

    named: bool
    """Whether the samples have names, not only numbers."""


class Ledger:
    """Numbers batches, gives samples their ids, and decides which samples are kept.

    >>> ledger = Ledger(Policy(every=2), dataset_size=3)
    >>> [ledger.enter([Sample(""), Sample("")]).rows for _ in range(2)]
    [[0], [0]]
    >>> [sample.id for sample in Ledger().enter([Sample("a", "x/a.png"), Sample("a", "y/a.png"), Sample("")]).samples]
    ['a', 'y_a', '2']

    Ids are unique. A second image with the same name is distinguished by its folder, a frame or a view by its number,
    and any other sample by counting. `remarks` mentions this once.

    policy, dataset_size: decide what is kept. A distributed sampler gives sample p * world_size + rank to a rank as its
    p-th sample. It repeats samples after the last one to fill the batches; these are left out. All views of an image
    are kept or left out together. stored: batches that the run already holds -> the ids of their samples.
    """

    def __init__(
        self,
        policy: Optional[Policy] = None,
        dataset_size: Optional[int] = None,
        rank: int = 0,
        world_size: int = 1,
        stored: Optional[Mapping[int, Sequence[str]]] = None,
    ) -> None:
        self._policy = policy = policy or Policy()
        if policy.images and policy.max_samples and world_size > 1:
            raise BadOptionError(
                "images and max_samples cannot be combined on several ranks, because a rank does not know the images "
                "of the others; leave one out, or use one process"
            )
        self._dataset_size, self._rank, self._world_size = dataset_size, rank, world_size
        self.stored: Mapping[int, Sequence[str]] = stored or {}
        self._next = rank
        self._seen = self._matched = 0
        self._ids: Dict[str, str] = {}  # id -> the file of the first sample that has it
        self._images: Dict[
            Tuple[str, str], Tuple[str, int]
        ] = {}  # key of an image's views -> id and position of the image
        self.remarks: List[str] = []

    def enter(self, samples: Sequence[Sample], number: Optional[int] = None) -> Entry:
        """Enter the rank's next batch with these samples. number: of the batch, if it already has one.

        Raises `BadRunError` if the run that is resumed holds other samples in this batch.
        """
        number = self._next if number is None else number
        self._next = number + self._world_size
        if not any(sample.view for sample in samples):
            self._images.clear()
        named = any(sample.id for sample in samples)
        self._refuse_nameless(samples)
        entered, rows = [], []
        for row, sample in enumerate(samples):
            position = self._position(sample)
            sample = self._identified(sample, position)
            entered.append(sample)
            if self._keeps(position, sample):
                rows.append(row)
        if number in self.stored:
            if named:
                self._refuse_others(number, [entered[row].id for row in rows])
            rows = []
        return Entry(number, entered, rows, named)

    def _refuse_nameless(self, samples: Sequence[Sample]) -> None:
        """Raise `BadOptionError` if the policy selects images by name and a sample has no name."""
        if self._policy.images and not all(sample.id or sample.path for sample in samples):
            raise BadOptionError(
                "the policy `images` needs the names of the images; "
                "give them before the model runs: with session.batch(ids):"
            )

    def _refuse_others(self, number: int, now: Sequence[str]) -> None:
        """Raise `BadRunError` if a batch of the resumed run holds other samples than the current ones."""
        before = list(self.stored[number])
        if before and before != list(now):
            raise BadRunError(
                f"batch {number} of the run holds {', '.join(before)}, but now it would hold {', '.join(now)}; "
                "resume with the same images in the same order as before"
            )

    def kept(self) -> Optional[int]:
        """Return how many samples of the data set are kept over all ranks; None if that is unknown."""
        if self._dataset_size is None or self._policy.images:
            return None
        kept = -(-self._dataset_size // self._policy.every)
        return min(kept, self._policy.max_samples or kept)

    def left(self, stored: int) -> int:
        """Return how many samples are still to come after a rank stored this many, in addition to the resumed ones."""
        before = sum(len(names) or 1 for names in self.stored.values())
        return max(0, (self.kept() or 0) - (before + stored) * self._world_size)

    def named(self, samples: Sequence[Sample], entry: Entry) -> List[Sample]:
        """Give samples that are described after their batch was entered the ids that they have in the ledger."""
        if not entry.named and any(sample.id for sample in samples):  # until now they only had numbers
            for one in entry.samples:
                self._ids.pop(one.id, None)
            return [self._identified(sample, self._seen) for sample in samples]
        known = entry.samples
        return [
            replace(
                sample,
                id=one.id,
                image=one.image,
                view=one.view,
                path=sample.path or one.path,
                # The way of reading belongs to the file, so it is only kept for the same file.
                reading=sample.reading or (one.reading if sample.path in ("", one.path) else ""),
            )
            for sample, one in zip(samples, known)
        ]

    # Ids

    def _identified(self, sample: Sample, position: int) -> Sample:
        name = sample.id or (Path(sample.path).stem if sample.path else str(position * self._world_size + self._rank))
        if sample.view:
            name = f"{self._images[_image(sample)][0]}_view{sample.view}"
        name = well_formed(name)  # in the form in which it is read back from a resumed run
        chosen = next(one for one in self._candidates(name, sample) if one not in self._ids)
        if chosen != name and not sample.view:
            self._say(name, chosen, sample)
        self._ids[chosen] = sample.path
        if not sample.view:
            self._images[_image(sample)] = (chosen, position)
            return replace(sample, id=chosen)
        return replace(sample, id=chosen, image=self._images[_image(sample)][0])

    def _candidates(self, name: str, sample: Sample) -> Iterator[str]:
        yield name
        if sample.frame is not None and not name.endswith(f"_{sample.frame}"):
            yield f"{name}_{sample.frame}"
        path, first = Path(sample.path), Path(self._ids.get(name, ""))
        if sample.path and path != first:
            if path.parent == first.parent and path.suffix != first.suffix:
                yield f"{name}{path.suffix}"
            folders = [folder for folder in path.parent.parts if folder not in (path.anchor, "..")]
            for depth in range(1, len(folders) + 1):
                yield "_".join([*folders[-depth:], name])
        number = 2
        while True:
            yield f"{name}_{number}"
            number += 1

    def _say(self, name: str, chosen: str, sample: Sample) -> None:
        if not self.remarks:
            self.remarks.append(
                f"several samples have the name {name!r}: "
                + (f"{sample.path} is stored as {chosen!r}" if sample.path else f"one is stored as {chosen!r}")
                + ", and others in the same way"
            )

    # What is kept

    def _position(self, sample: Sample) -> int:
        """Return the index of a sample's image among those of this rank."""
        if sample.view:
            return self._images[_image(sample)][1]
        self._seen += 1
        return self._seen - 1

    def _keeps(self, place: int, sample: Sample) -> bool:
        policy, position = self._policy, place * self._world_size + self._rank
        # With a single rank nothing is repeated, so samples after the last one belong to a second loop.
        if self._world_size > 1 and self._dataset_size is not None and position >= self._dataset_size:
            return False
        if position % policy.every:
            return False
        if not policy.images:
            return not policy.max_samples or position // policy.every < policy.max_samples
        if not _matches_any(sample, policy.images):
            return False
        if not sample.view:
            self._matched += 1
        return not policy.max_samples or self._matched <= policy.max_samples


def _matches_any(sample: Sample, globs: Sequence[str]) -> bool:
    """Whether the id or the path of a sample, or the last part of either, matches one of the globs."""
    names = (sample.image or sample.id, sample.path)
    texts = {text for name in names for text in (name, PurePath(name).name)}
    return any(fnmatchcase(text, glob) for text in texts for glob in globs)


def _image(sample: Sample) -> Tuple[str, str]:
    """Return the key that all views of one image share."""
    return sample.path, sample.image or sample.id
