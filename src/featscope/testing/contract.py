"""The tests that every adapter must pass, with two images of different shapes in one batch."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FunctionType, MethodType
from typing import Callable, Iterator, List, Sequence, Set, Tuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featscope.adapters.detector import Detected, Detector, Item
from featscope.adapters.feeding import capture_images, detect_and_trace
from featscope.arrays.found_again import differences
from featscope.arrays.selecting import KEPT, SUPPRESSED, select
from featscope.capturing.memory import MemorySink
from featscope.demo.scenes import draw_scene
from featscope.explaining.explainer import explain_item
from featscope.explaining.masking import ImageMask
from featscope.explaining.methods import METHODS
from featscope.explaining.provenance import find_sources
from featscope.explaining.targets import Choice
from featscope.records import Boxes, Geometry, Sample, Size, Source, is_map
from featscope.store.check import check_run
from featscope.store.images import read_image
from featscope.store.reader import Run, open_run
from featscope.testing.detections import check_same

_NAMES = ("wide", "high")
_SIZES: Sequence[Size] = ((300, 420), (340, 200))

Place = Tuple[nn.Module, int, Tuple[int, ...]]
"""A module, the number of its call, and an index into its output."""


def write_images(folder: Path) -> List[Path]:
    """Write two scenes of different shapes: a wide one and a high one."""
    whole = draw_scene(3).image
    paths = [folder / f"{name}.png" for name in _NAMES]
    Image.fromarray(whole[:300, :420]).save(paths[0])
    Image.fromarray(whole[60:400, 200:400]).save(paths[1])
    return paths


_of_sources = pytest.mark.usefixtures("traced")


class AdapterContract:
    """Tests for an adapter. A subclass defines how to `open` a detector and where a source's logit is in the model.

    layers: some layers to capture. batch: number of images in one forward.
    """

    layers: Sequence[str] = ("backbone",)
    #: Whether detections have sources and can be explained.
    traceable = True
    #: Whether boxes are clipped to the image.
    clipped = True
    #: Whether the scores of a candidate's classes depend on one another.
    softmax = False
    #: Whether the last convolutions are not padded, so that their cells do not cover the whole input.
    drops_borders = False
    #: Whether it is known how the detector selects its detections from its candidates.
    selects = True
    #: How many pairs are suppressed in each image at least, so that the selection is tested by them.
    suppressed = 0
    batch = 2

    @staticmethod
    def open() -> Detector:
        """Open a small detector with weights that find something in the images of `write_images`."""
        raise NotImplementedError

    def logit_place(self, detector: Detector, source: Source, label: int, image: int) -> Place:
        """Return where in the model a source's logit for a class is. image: index of the image in the batch."""
        raise NotImplementedError

    @pytest.fixture
    def detector(self) -> Detector:
        """One detector for all tests of a class."""
        return _opened(type(self).open)

    @pytest.fixture
    def items(self, detector: Detector, tmp_path: Path) -> List[Item]:
        """Both images, ready for the network. Their files are in the test's folder."""
        return [detector.prepare(path, path.stem) for path in write_images(tmp_path)]

    @pytest.fixture
    def traced(self) -> None:
        """Skip tests of sources and explanations for detectors without sources."""
        if not self.traceable:
            pytest.skip("it is not traceable: its detections have no sources and cannot be explained")

    def test_items_say_what_they_are_of(self, items: List[Item], tmp_path: Path) -> None:
        """Items have the given ids and the paths of the files."""
        for item, name, size in zip(items, _NAMES, _SIZES):
            assert item.sample.id == name
            assert item.sample.path == str(tmp_path / f"{name}.png")
            assert read_image(tmp_path / f"{name}.png").shape[:2] == size

    def test_it_says_whether_it_is_traceable(self, detector: Detector) -> None:
        """Callers check this before they request sources."""
        assert detector.traceable == self.traceable

    def test_detections_are_of_their_items(self, detector: Detector, items: List[Item]) -> None:
        """Detections are in the order of the batch, with the size of the original."""
        for one, item, size in zip(_detected(detector, items), items, _SIZES):
            assert one.sample.id == item.sample.id
            assert tuple(_geometry(one.sample).original) == size
            assert self.traceable or one.sample.predictions is None

    @_of_sources
    def test_detections_lie_in_the_original(self, detector: Detector, items: List[Item]) -> None:
        """Boxes are in pixels of the image file, and scores are between 0 and 1."""
        for one, (height, width) in zip(_detected(detector, items), _SIZES):
            boxes = _predictions(one.sample)
            assert boxes.boxes
            assert all(0 <= score <= 1 for score in boxes.scores)
            if boxes.form == "xyxy" and self.clipped:
                values = np.array(boxes.boxes)
                assert values.min() >= -0.01
                assert (values.max(0) <= np.array([width, height] * 2) + 0.01).all()

    def test_the_geometry_is_that_of_the_input(self, detector: Detector, items: List[Item]) -> None:
        """Outside the image the network's input is padding of one value; the edges of the image are not."""
        for item in items:
            seen: List[torch.Tensor] = []
            mask = ImageMask(detector, item)
            mask.look(item, seen)
            geometry = _geometry(_detected(detector, [item])[0].sample)
            assert tuple(geometry.padded) == tuple(seen[0].shape[-2:]) == mask.size
            top, left = (int(start) for start in geometry.offset)
            height, width = (int(side) for side in geometry.resized)
            inside = seen[0][0, :, top : top + height, left : left + width]
            outside = torch.ones(seen[0].shape[-2:], dtype=torch.bool)
            outside[top : top + height, left : left + width] = False
            padding = seen[0][0][:, outside]
            if padding.numel():
                assert (padding - padding[:, :1]).abs().max() < 1e-6
            for edge in (inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]):
                assert edge.std() > 0
            # The scale is the same along both axes, up to rounding.
            assert abs(height / geometry.original[0] * geometry.original[1] - width) <= 2 or not padding.numel()

    @_of_sources
    def test_every_detection_has_a_source(self, detector: Detector, items: List[Item]) -> None:
        """The sources of all detections are found after suppression."""
        with torch.no_grad():
            found = detect_and_trace(detector, items)
        for one in found:
            assert one.sample.sources is not None
            assert len(one.sample.sources) == len(_predictions(one.sample).boxes)
            assert all(one.sample.sources)

    @_of_sources
    def test_its_logit_changes_the_detection_and_no_other(self, detector: Detector, items: List[Item]) -> None:
        """A source is proved by changing its logit in the model: only its detection must change."""
        with torch.no_grad():
            before = detect_and_trace(detector, items)
        for image, one in enumerate(before):
            boxes, sources = _predictions(one.sample), one.sample.sources or []
            # The classes of a softmax depend on one another, so a source with several boxes would change all of them.
            number = next(
                number
                for number, found in enumerate(sources)
                if len(found) == 1 and (not self.softmax or sum(found == other for other in sources) == 1)
            )
            module, call, index = self.logit_place(detector, sources[number][0], boxes.labels[number], image)
            with _altered(module, call, index, delta=0.02):
                after = _detected(detector, items)
            assert len(_texts(boxes) ^ _texts(_predictions(after[image].sample))) == 2, (
                "one box must be gone and one must be new"
            )
            assert after[1 - image].sample.predictions == before[1 - image].sample.predictions

    @_of_sources
    def test_candidates_have_gradients(self, detector: Detector, items: List[Item]) -> None:
        """Raw outputs are available with gradients."""
        with torch.enable_grad():
            found = detector.detect(items[:1], candidates=True)[0]
        assert found.candidates is not None
        best = found.candidates.best()
        assert found.candidates.score(best.source, best.label) == pytest.approx(best.score)
        assert find_sources(found.candidates, _predictions(found.sample))

    @_of_sources
    def test_its_selection_gives_its_own_detections(self, detector: Detector, items: List[Item]) -> None:
        """The candidates and the selection alone, without the framework, lead to the detector's own detections."""
        with torch.no_grad():
            found = detector.detect(items, candidates=True)
        for one in found:
            assert one.candidates is not None
            candidates, predictions = one.candidates.arrays(), _predictions(one.sample)
            assert (candidates.selection is not None) == self.selects, candidates.unknown
            assert bool(candidates.unknown) != self.selects, "it must say why its selection is not known"
            if not self.selects:
                continue
            assert all(level.scores.dtype == np.float32 for level in candidates.levels)
            outcome = select(candidates)
            check_same(outcome, predictions)
            assert not differences(outcome, predictions)
            stages = np.bincount(outcome.stage, minlength=KEPT + 1)
            assert stages[KEPT] == len(predictions.boxes)
            assert stages[SUPPRESSED] >= self.suppressed

    def test_a_run_of_images(self, detector: Detector, items: List[Item], tmp_path: Path) -> None:
        """A capture is complete and does not change the model."""
        before = _hooks(detector)
        images = [tmp_path / f"{name}.png" for name in _NAMES]
        made = capture_images(detector, images, tmp_path / "run", self.layers, batch_size=self.batch)
        assert not made.failed
        assert not made.remarks
        assert made.written.samples == 2
        run = open_run(tmp_path / "run")
        assert run.info is not None
        assert run.info.finished
        assert set(run.samples) == set(_NAMES)
        assert not check_run(tmp_path / "run").problems
        self._maps_fill_the_input(run)
        if self.traceable:
            assert all(all(sample.sources or [()]) for sample in run.samples.values())
        assert _hooks(detector) == before

    def _maps_fill_the_input(self, run: Run) -> None:
        records = [one.record for one in run.maps if one.record is not None and one.record.stride is not None]
        assert records
        sample = run.samples["wide"]
        for record in records:
            if record.batch != sample.batch:
                continue
            assert record.axes == ["sample", "channel", "row", "column"]
            assert record.place in ("operators", "assumed")
            assert record.stride is not None
            assert record.first is not None
            sides = zip(record.shape[2:], record.stride, record.first, _geometry(sample).padded)
            for cells, stride, first, pixels in sides:
                assert 0 <= first <= stride * (cells - 1) + first <= pixels
                assert self.drops_borders or abs(cells * stride - pixels) < stride

    @_of_sources
    def test_an_explanation_has_the_shape_and_the_place_of_its_layers_own_output(
        self, detector: Detector, items: List[Item]
    ) -> None:
        """Test every method except those that need one forward for each channel."""
        layer = detector.layer_to_explain
        sink = MemorySink()
        with detector.capture(layer.split(","), sink) as session:
            session.start_batch(0, [items[0].sample.id])
            _detected(detector, items[:1])
        maps = [captured for captured, _ in sink.stored if is_map(captured.axes)]
        shapes = [tuple(array.shape[2:]) for arrays in sink.values() for array in arrays if array.ndim == 4]
        assert maps
        problems: List[str] = []
        for name, method in METHODS.items():
            if method.by == "hiding" and method.layer:
                continue
            found = explain_item(
                detector, items[0], layer, [name], Choice(top=1), masks=2, batch_size=2, on_error=problems.append
            )
            for explanation in found:
                if method.layer:
                    assert explanation.heat.shape in shapes
                    assert explanation.place in [one.place for one in maps]
        assert len(problems) < 4, problems

    @_of_sources
    def test_a_detection_is_explained(self, detector: Detector, items: List[Item]) -> None:
        """A part of the layer supports each detection, and the model is restored."""
        wanted = {name: weight.requires_grad for name, weight in detector.model.named_parameters()}
        before = _hooks(detector)
        found = explain_item(
            detector, items[0], detector.layer_to_explain, ["hirescam"], Choice(top=3), on_error=lambda text: None
        )
        assert found
        for explanation in found:
            assert explanation.heat.ndim == 2
            assert explanation.heat.min() >= 0
            assert explanation.heat.max() > 0
        assert {name: weight.requires_grad for name, weight in detector.model.named_parameters()} == wanted
        assert _hooks(detector) == before


@lru_cache(maxsize=1)
def _opened(make: Callable[[], Detector]) -> Detector:
    return make()


def _detected(detector: Detector, items: Sequence[Item]) -> List[Detected]:
    with torch.no_grad():
        return detector.detect(items)


def _geometry(sample: Sample) -> Geometry:
    assert sample.geometry is not None, f"the geometry of {sample.id} is unknown"
    return sample.geometry


def _predictions(sample: Sample) -> Boxes:
    assert sample.predictions is not None, f"{sample.id} has no predictions, although the detector is traceable"
    return sample.predictions


def _texts(boxes: Boxes) -> Set[str]:
    """Convert detections to texts that can be compared."""
    return set(map(str, zip(boxes.boxes, boxes.scores, boxes.labels)))


def _hooks(detector: Detector) -> int:
    """Count the hooks and replaced methods of a model; 0 if it is not a module."""
    model: object = detector.model
    if not isinstance(model, nn.Module):
        return 0
    return sum(
        len(module._forward_hooks)
        + len(module._forward_pre_hooks)
        + sum(isinstance(value, (FunctionType, MethodType)) for value in vars(module).values())
        for module in model.modules()
    )


@contextmanager
def _altered(module: nn.Module, call: int, index: Tuple[int, ...], delta: float) -> Iterator[None]:
    """Change one number in the output of one call of a module."""
    calls: List[int] = []

    def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) - 1 == call:
            output = output.clone()
            output[index] += delta
        return output

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
