"""What goes along with a captured script: the ids, geometry and boxes that its framework knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from featscope.adapters.detector import boxes_on_original, versions
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.session import capture, image_batch
from featscope.records import Geometry, RunInfo, Sample

Arguments = Tuple[Any, ...]
Named = Mapping[str, Any]


def accompany(
    model: Any, owners: Sequence[Any], output: Path, layers: Sequence[str], provenance: bool, options: Mapping[str, Any]
) -> Companion:
    """A capture of a model that is about to run, with what its framework knows of its images.

    owners: the objects whose methods called it, nearest first: a predictor, a test loop.
    """
    modules = {name.partition(".")[0] for name in sys.modules}
    inner = model
    kind = Companion
    if "mmengine" in modules:
        from mmengine.model import BaseModel

        if isinstance(model, BaseModel) and hasattr(model, "data_preprocessor"):
            kind = MMCompanion
    if "torchvision" in modules:
        from torchvision.models.detection.transform import GeneralizedRCNNTransform

        if isinstance(getattr(model, "transform", None), GeneralizedRCNNTransform):
            kind = TorchvisionCompanion
    if "ultralytics" in modules:
        from ultralytics.nn.tasks import BaseModel as UltralyticsModel

        found = next((m for m in model.modules() if isinstance(m, UltralyticsModel)), None)
        if found is not None:
            kind, inner = UltralyticsCompanion, found
    if "transformers" in modules and type(model).__name__.endswith("ForObjectDetection"):
        kind = TransformersCompanion
    return kind(inner, owners, output, layers, provenance, dict(options))


class Companion:
    """Captures a model of which nothing is known but its inputs: images are numbered."""

    not_features: Sequence[str] = ()
    packages: Sequence[str] = ()

    def __init__(
        self,
        model: Any,
        owners: Sequence[Any],
        output: Path,
        layers: Sequence[str],
        provenance: bool,
        options: Dict[str, Any],
    ) -> None:
        self.model, self.owners, self.output, self.provenance = model, owners, output, provenance
        self._rank, self._world_size = rank_and_world_size()
        self._number = self._rank - self._world_size
        self._count = 0
        # Before the capture's own hooks: a batch has its samples' names before the model runs.
        self._handles = [model.register_forward_pre_hook(self._before, with_kwargs=True)]
        patterns = list(layers)
        if not any(not pattern.startswith("!") for pattern in patterns):
            patterns += [f"!{name}" for name in self.not_features]
        self.session = self.start(patterns, options)
        # Behind them: it is done with the batch.
        self._handles.append(model.register_forward_hook(self._after, with_kwargs=True))

    def start(self, patterns: Sequence[str], options: Dict[str, Any]) -> Any:
        """Begin the capture."""
        info = self.info()
        session = capture(self.model, patterns, self.output, info=info, **options)
        session.__enter__()
        return session

    def info(self) -> RunInfo:
        """What the run says of the model."""
        return RunInfo(model=type(self.model).__name__, versions=versions(*self.packages), command=list(sys.argv))

    def _before(self, _module: Any, inputs: Arguments, named: Dict[str, Any]) -> None:
        self._number += self._world_size
        self.before(self._number, inputs, named)

    def _after(self, _module: Any, inputs: Arguments, named: Dict[str, Any], output: Any) -> None:
        self.after(inputs, named, output)

    def before(self, number: int, inputs: Arguments, named: Named) -> None:
        """The batch that comes."""
        images = image_batch([*inputs, *named.values()])
        self.session.start_batch(number, self.numbered(images[0] if images else 1))

    def after(self, inputs: Arguments, named: Named, output: Any) -> None:
        """What the model made of it."""

    def numbered(self, count: int) -> List[str]:
        """Names for images that have none: their places in the order of the script, of all ranks."""
        first, self._count = self._count, self._count + count
        return [str((first + index) * self._world_size + self._rank) for index in range(count)]

    def close(self, failed: bool) -> None:
        """End the capture; after a failure the run stays unfinished."""
        for handle in self._handles:
            handle.remove()
        self.session.__exit__(RuntimeError if failed else None, None, None)

    def summary(self) -> str:
        """What was written where."""
        sink = self.session.sink
        size = f"{sink.bytes_written / 1e6:.1f} MB"
        return f"{sink.maps_written} maps of {sink.samples_written} samples, {size}, in {self.output}"


class MMCompanion(Companion):
    """MMEngine: the data samples go through the model."""

    not_features = ("data_preprocessor",)

    def start(self, patterns: Sequence[str], options: Dict[str, Any]) -> Any:
        """Begin the capture, as the hook does."""
        from featscope.adapters.mmengine import LoopCapture, truth_is_resized

        dataset = getattr(getattr(self._loop, "dataloader", None), "dataset", None)
        self._capture = LoopCapture(
            self.model,
            self.output,
            patterns,
            truth_is_resized=truth_is_resized(dataset),
            provenance=self.provenance,
            dataset_size=len(dataset) if dataset is not None else None,
            info=self.info(),
            **options,
        )
        return self._capture.session

    @property
    def _loop(self) -> Any:
        return next((owner for owner in self.owners if hasattr(owner, "dataloader") and hasattr(owner, "runner")), None)

    def info(self) -> RunInfo:
        """Config, checkpoint and classes, where a runner has them."""
        from featscope.adapters.mmengine import versions_here

        runner = getattr(self._loop, "runner", None)
        dataset = getattr(getattr(self._loop, "dataloader", None), "dataset", None)
        return RunInfo(
            model=type(self.model).__name__,
            config=str(getattr(getattr(runner, "cfg", None), "filename", "") or ""),
            checkpoint=str(getattr(runner, "_load_from", "") or ""),
            classes=list((getattr(dataset, "metainfo", None) or {}).get("classes") or ()),
            versions=versions_here(),
            command=list(sys.argv),
        )

    def before(self, number: int, inputs: Arguments, named: Named) -> None:
        """Name the batch's samples."""
        samples = named.get("data_samples", inputs[1] if len(inputs) > 1 else None)
        if samples:
            self._capture.before_batch(number, {"data_samples": samples})
        else:
            super().before(number, inputs, named)

    def after(self, inputs: Arguments, named: Named, output: Any) -> None:
        """What was found, and the inputs before normalisation."""
        if not (isinstance(output, list) and output and hasattr(output[0], "metainfo")):
            return
        images = named.get("inputs", inputs[0] if inputs else None)
        self._capture.after_batch({"inputs": self._unnormalised(images)}, output)

    def _unnormalised(self, images: Any) -> Any:
        prepare = self.model.data_preprocessor
        values = images.detach()
        if getattr(prepare, "_enable_normalize", False):
            values = values * prepare.std + prepare.mean
        return values.flip(1) if getattr(prepare, "_channel_conversion", False) else values

    def close(self, failed: bool) -> None:
        """End the capture."""
        for handle in self._handles:
            handle.remove()
        self._capture.close(failed)


class TorchvisionCompanion(Companion):
    """torchvision: images come as they are, boxes go out in their pixels."""

    not_features = ("transform",)
    packages = ("torchvision",)

    def start(self, patterns: Sequence[str], options: Dict[str, Any]) -> Any:
        """Begin the capture, and watch how images are resized."""
        self._batch: Any = None
        self._handles.append(self.model.transform.register_forward_hook(self._resized))
        return super().start(patterns, options)

    def _resized(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._batch = output[0]

    def before(self, number: int, inputs: Arguments, named: Named) -> None:
        """Number the images."""
        images = inputs[0] if inputs else named["images"]
        self.session.start_batch(number, self.numbered(len(images)))
        self._names = [str(sample.id) for sample in self.session.samples]

    def after(self, inputs: Arguments, named: Named, output: Any) -> None:
        """What was found."""
        images = inputs[0] if inputs else named["images"]
        padded = (int(self._batch.tensors.shape[-2]), int(self._batch.tensors.shape[-1]))
        samples, pictures = [], []
        for name, image, size, found in zip(self._names, images, self._batch.image_sizes, output):
            geometry = Geometry((image.shape[1], image.shape[2]), (int(size[0]), int(size[1])), padded)
            values = {key: value.detach().cpu().numpy() for key, value in found.items()}
            boxes = boxes_on_original("xyxy", values["boxes"], values["scores"], values["labels"])
            samples.append(Sample(id=name, geometry=geometry, predictions=boxes))
            pictures.append(_picture(_fitted(image, size)))
        self.session.describe(samples, pictures)


class UltralyticsCompanion(Companion):
    """Ultralytics: its predictor and validator know the files, and suppress after the forward."""

    packages = ("ultralytics",)

    def start(self, patterns: Sequence[str], options: Dict[str, Any]) -> Any:
        """Begin the capture, and listen to what the boxes become."""
        self._owner = next((owner for owner in self.owners if hasattr(owner, "postprocess")), None)
        self._sizes: List[Tuple[int, int]] = []
        self._input: Any = None
        if self._owner is not None:
            self._postprocess = self._owner.postprocess
            self._owner.postprocess = self._listen
        return super().start(patterns, options)

    def info(self) -> RunInfo:
        """Classes, by their names."""
        from msgspec.structs import replace

        names = getattr(self.model, "names", {}) or {}
        listed = [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else list(names)
        return replace(super().info(), classes=listed)

    def before(self, number: int, inputs: Arguments, named: Named) -> None:
        """The files of the batch, where a predictor or a validator has them."""
        self._input = inputs[0]
        batch = getattr(self._owner, "batch", None)  # a predictor's
        if batch is None:
            batch = _local("batch", "img")  # a validator's
        paths: List[str] = []
        self._sizes = []
        if isinstance(batch, (tuple, list)):
            paths, self._sizes = list(map(str, batch[0])), [tuple(image.shape[:2]) for image in batch[1]]
        elif isinstance(batch, dict):
            paths = list(map(str, batch.get("im_file") or ()))
            self._sizes = [(int(h), int(w)) for h, w in batch.get("ori_shape") or ()]
        count = len(self._input)
        if len(paths) == count:
            self.session.start_batch(
                number, [Path(path).stem for path in paths], [str(Path(p).absolute()) for p in paths]
            )
        else:
            self.session.start_batch(number, self.numbered(count))

    def _listen(self, *arguments: Any, **named: Any) -> Any:
        results = self._postprocess(*arguments, **named)
        if len(self._sizes) == len(results) == len(self.session.samples):
            self._describe(results)
        return results

    def _describe(self, results: Sequence[Any]) -> None:
        from featscope.adapters.ultralytics import letterbox_geometry

        padded = (int(self._input.shape[-2]), int(self._input.shape[-1]))
        samples, pictures = [], []
        for sample, size, result, image in zip(self.session.samples, self._sizes, results, self._input):
            geometry = letterbox_geometry(size, padded)
            samples.append(
                Sample(sample.id, sample.path, geometry=geometry, predictions=_ultralytics_boxes(result, geometry))
            )
            (top, left), (height, width) = geometry.offset, geometry.resized
            pictures.append(_picture(image[:, top : top + height, left : left + width]))
        self.session.describe(samples, pictures)

    def close(self, failed: bool) -> None:
        """End the capture; the predictor is as before."""
        if self._owner is not None:
            self._owner.__dict__.pop("postprocess", None)
        super().close(failed)


def _ultralytics_boxes(result: Any, geometry: Geometry) -> Any:
    if isinstance(result, dict):  # of a validator: in pixels of the input
        boxes, scores, labels = (result[name].cpu().numpy() for name in ("bboxes", "conf", "cls"))
        if result["extra"].shape[-1] == 1:  # the angle
            import numpy as np

            boxes = np.concatenate([boxes, result["extra"].cpu().numpy()], 1)
            return boxes_on_original("cxcywha", boxes, scores, labels, geometry)
        return boxes_on_original("xyxy", boxes, scores, labels, geometry, clip=True)
    turned = getattr(result, "obb", None)
    found = turned if turned is not None else result.boxes
    if found is None:
        return None
    data = found.data.cpu().numpy()
    if turned is not None:
        return boxes_on_original("cxcywha", data[:, :5], data[:, -2], data[:, -1])
    return boxes_on_original("xyxy", data[:, :4], data[:, -2], data[:, -1])


class TransformersCompanion(Companion):
    """transformers: the images come as pixel values with a mask; of their files nothing is known."""

    packages = ("transformers",)

    def before(self, number: int, inputs: Arguments, named: Named) -> None:
        """Number the images."""
        self.session.start_batch(number, self.numbered(len(_pixels(inputs, named))))

    def after(self, inputs: Arguments, named: Named, output: Any) -> None:
        """Queries above a score of 0.5, in pixels of the resized image: the original's are not known here."""
        values, mask = _pixels(inputs, named), named.get("pixel_mask")
        padded = (int(values.shape[-2]), int(values.shape[-1]))
        samples, pictures = [], []
        for index, sample in enumerate(self.session.samples):
            size = padded if mask is None else (int(mask[index].any(1).sum()), int(mask[index].any(0).sum()))
            geometry = Geometry(size, size, padded)
            logits, boxes = output.logits[index].detach(), output.pred_boxes[index].detach()
            background = logits.shape[-1] == self.model.config.num_labels + 1
            scores, labels = (logits.softmax(-1)[:, :-1] if background else logits.sigmoid()).max(-1)
            kept = scores > 0.5
            corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
            corners = corners * corners.new_tensor([size[1], size[0], size[1], size[0]])
            predictions = boxes_on_original("xyxy", corners[kept].cpu(), scores[kept].cpu(), labels[kept].cpu())
            samples.append(Sample(sample.id, geometry=geometry, predictions=predictions))
            pictures.append(_picture(_stretched(values[index, :, : size[0], : size[1]])))
        self.session.describe(samples, pictures)


def _pixels(inputs: Arguments, named: Named) -> Any:
    return named.get("pixel_values", inputs[0] if inputs else None)


def _local(name: str, key: str) -> Any:
    """A local variable of one of the callers: a dict of this name with this key."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        value = frame.f_locals.get(name)
        if isinstance(value, dict) and key in value:
            return value
        frame = frame.f_back
    return None


def _fitted(image: Any, size: Sequence[int]) -> Any:
    resized = torch.nn.functional.interpolate(image[None].float(), tuple(size), mode="bilinear", align_corners=False)
    return resized[0]


def _stretched(image: Any) -> Any:
    """Normalised by a mean that is not known here: the values from smallest to largest."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp(min=1e-12)


def _picture(image: Any) -> Optional[Any]:
    """(3, H, W) in [0, 1], RGB, as (H, W, 3) uint8."""
    if image.dim() != 3 or image.shape[0] != 3:
        return None
    return (image.detach().float().cpu() * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
