"""What every adapter must do, on two images of different shapes in one batch."""

from contextlib import contextmanager
from functools import lru_cache
from types import FunctionType, MethodType

import numpy as np
import pytest
import torch

from featscope.adapters.images import capture_images, detect_and_trace
from featscope.capturing.memory import MemorySink
from featscope.demo.scenes import draw_scene
from featscope.explaining.explainer import explain_item
from featscope.explaining.masking import ImageMask
from featscope.explaining.methods import METHODS
from featscope.explaining.provenance import find_sources
from featscope.explaining.targets import Choice
from featscope.records import is_map
from featscope.store.check import check_run
from featscope.store.images import read_image
from featscope.store.reader import open_run


def write_images(folder):
    """Two scenes of different shapes: an upright and a wide one."""
    from PIL import Image

    whole = draw_scene(3).image
    paths = [folder / "wide.png", folder / "high.png"]
    Image.fromarray(whole[:300, :420]).save(paths[0])
    Image.fromarray(whole[60:400, 200:400]).save(paths[1])
    return paths


def hooks(model):
    return sum(
        len(m._forward_hooks)
        + len(m._forward_pre_hooks)
        + sum(isinstance(v, (FunctionType, MethodType)) for v in vars(m).values())
        for m in model.modules()
    )


@contextmanager
def altered(module, call, index, delta):
    """Change one number in the output of one call of a module."""
    calls = []

    def hook(_module, _inputs, output):
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


@lru_cache(maxsize=1)
def _opened(cls):
    return cls.open()


class DetectorContract:
    """Subclasses say how to `open` it, and where a source's logit is in the model."""

    layers = ("backbone",)
    traceable = True
    clipped = True
    softmax = False
    #: Whether its last convolutions have no border, so that their cells do not fill the input.
    drops_borders = False
    batch = 2

    @staticmethod
    def open():
        raise NotImplementedError

    @pytest.fixture
    def detector(self):
        return _opened(type(self))

    @pytest.fixture
    def items(self, detector, tmp_path):
        return [detector.prepare(path, path.stem) for path in write_images(tmp_path)]

    def logit_place(self, detector, source, label, image):
        """(module, number of its call, index in its output) of a logit."""
        raise NotImplementedError

    def test_items_say_what_they_are_of(self, items, tmp_path):
        for item, name, size in zip(items, ("wide", "high"), ((300, 420), (340, 200))):
            assert item.sample.id == name
            assert item.sample.path == str(tmp_path / f"{name}.png")
            assert read_image(tmp_path / f"{name}.png").shape[:2] == size

    def test_detections_lie_in_the_original(self, detector, items):
        with torch.no_grad():
            found = detector.detect(items)
        for one, item, size in zip(found, items, ((300, 420), (340, 200))):
            assert one.sample.id == item.sample.id
            assert tuple(one.sample.geometry.original) == size
            boxes = one.sample.predictions
            if not self.traceable:
                assert boxes is None
                continue
            assert boxes.boxes
            assert all(0 <= score <= 1 for score in boxes.scores)
            if boxes.form == "xyxy" and self.clipped:
                values = np.array(boxes.boxes)
                assert values.min() >= -0.01
                assert (values.max(0) <= np.array([size[1], size[0]] * 2) + 0.01).all()

    def test_the_geometry_is_that_of_the_input(self, detector, items):
        """Beyond the image, the network's input is padding and nothing else; within it, it is not."""
        for item in items:
            seen = []
            mask = ImageMask(detector, item)
            mask.look(item, seen)
            with torch.no_grad():
                geometry = detector.detect([item])[0].sample.geometry
            assert tuple(geometry.padded) == tuple(seen[0].shape[-2:]) == mask.size
            (top, left), (height, width) = geometry.offset, geometry.resized
            inside = seen[0][0, :, top : top + height, left : left + width]
            outside = torch.ones(seen[0].shape[-2:], dtype=torch.bool)
            outside[top : top + height, left : left + width] = False
            padding = seen[0][0][:, outside]
            if padding.numel():
                assert (padding - padding[:, :1]).abs().max() < 1e-6
            for edge in (inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]):
                assert edge.std() > 0
            # One scale for all of the image, up to the rounding of its sides.
            assert abs(height / geometry.original[0] * geometry.original[1] - width) <= 2 or not padding.numel()

    def test_every_detection_has_a_source(self, detector, items):
        if not self.traceable:
            assert not detector.traceable
            return
        with torch.no_grad():
            found = detect_and_trace(detector, items)
        for one in found:
            assert len(one.sample.sources) == len(one.sample.predictions.boxes)
            assert all(one.sample.sources)

    def test_its_logit_changes_the_detection_and_no_other(self, detector, items):
        if not self.traceable:
            return
        with torch.no_grad():
            before = detect_and_trace(detector, items)
        for image, one in enumerate(before):
            boxes, sources = one.sample.predictions, one.sample.sources
            # The classes of a softmax hang together: a source that gives several boxes changes them all.
            number = next(
                number
                for number, found in enumerate(sources)
                if len(found) == 1 and (not self.softmax or sum(found == other for other in sources) == 1)
            )
            place = self.logit_place(detector, sources[number][0], boxes.labels[number], image)
            with torch.no_grad(), altered(*place, delta=0.02):
                after = detector.detect(items)
            now = after[image].sample.predictions
            changed = set(map(str, zip(boxes.boxes, boxes.scores, boxes.labels)))
            changed ^= set(map(str, zip(now.boxes, now.scores, now.labels)))
            assert len(changed) == 2, "one detection is gone, one is new"
            other = after[1 - image].sample.predictions
            assert other == before[1 - image].sample.predictions

    def test_candidates_have_gradients(self, detector, items):
        if not self.traceable:
            return
        with torch.enable_grad():
            found = detector.detect(items[:1], candidates=True)[0]
        best = found.candidates.best()
        assert found.candidates.score(best.source, best.label) == pytest.approx(best.score)
        assert find_sources(found.candidates, found.sample.predictions)

    def test_a_run_of_images(self, detector, items, tmp_path):
        before = hooks(detector.model) if hasattr(detector.model, "modules") else 0
        run = tmp_path / "run"
        images = [tmp_path / "wide.png", tmp_path / "high.png"]
        made = capture_images(detector, images, run, self.layers, batch_size=self.batch)
        assert not made.failed
        assert not made.remarks
        assert made.written.samples == 2
        opened = open_run(run)
        assert opened.info.finished
        assert set(opened.samples) == {"wide", "high"}
        assert not check_run(run).problems
        maps = [m for m in opened.maps if m.record.stride is not None]
        assert maps
        sample = opened.samples["wide"]
        for found in maps:
            if found.record.batch == sample.batch:
                assert found.record.axes == ["sample", "channel", "row", "column"]
                assert found.record.place in ("operators", "assumed")
                sides = zip(found.record.shape[2:], found.record.stride, found.record.first, sample.geometry.padded)
                for cells, stride, first, pixels in sides:  # all cells lie in the input, and fill it
                    assert 0 <= first <= stride * (cells - 1) + first <= pixels
                    assert self.drops_borders or abs(cells * stride - pixels) < stride
        if self.traceable:
            assert all(all(s.sources) for s in opened.samples.values())
        if hasattr(detector.model, "modules"):
            assert hooks(detector.model) == before

    def test_an_explanation_has_the_shape_and_the_place_of_its_layers_own_output(self, detector, items):
        if not self.traceable:
            return
        layer = detector.layer_to_explain
        sink = MemorySink()
        with detector.capture(layer.split(","), sink) as session:
            session.start_batch(0, [items[0].sample.id])
            with torch.no_grad():
                detector.detect(items[:1])
        maps = [captured for captured, _ in sink.stored if is_map(captured.axes)]
        shapes = [tuple(array.shape[2:]) for arrays in sink.values() for array in arrays if array.ndim == 4]
        assert maps
        problems = []
        for name, method in METHODS.items():
            if method.by == "hiding" and method.layer:  # a forward a channel: `tests/explaining` has these
                continue
            found = explain_item(
                detector, items[0], layer, [name], Choice(top=1), masks=2, batch_size=2, on_error=problems.append
            )
            for explanation in found:
                if method.layer:
                    assert explanation.heat.shape in shapes
                    assert explanation.place in [one.place for one in maps]
        assert len(problems) < 4, problems

    def test_a_detection_is_explained(self, detector, items):
        if not self.traceable:
            return
        wanted = {name: p.requires_grad for name, p in detector.model.named_parameters()}
        before = hooks(detector.model)
        found = explain_item(
            detector, items[0], detector.layer_to_explain, ["hirescam"], Choice(top=3), on_error=lambda text: None
        )
        assert found
        for explanation in found:
            assert explanation.heat.ndim == 2
            assert explanation.heat.min() >= 0
            assert explanation.heat.max() > 0
        assert {name: p.requires_grad for name, p in detector.model.named_parameters()} == wanted
        assert hooks(detector.model) == before
