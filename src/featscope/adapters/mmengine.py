"""MMEngine (MMDetection, MMRotate, ...): a hook that captures in the test and validation loops.

In a config::

    custom_imports = dict(imports=['featscope.adapters.mmengine'])
    custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir='runs/s2anet')]
"""

from __future__ import annotations

import atexit
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from numpy.typing import NDArray
from torch import nn

from featscope.adapters.detector import versions
from featscope.adapters.mmdet_heads import HeadCalls, candidates_of, head_calls
from featscope.capturing.policy import make_policy
from featscope.capturing.session import Capture, capture
from featscope.explain.provenance import find_sources
from featscope.records import Boxes, Geometry, Policy, RunInfo, Sample, Sink

_PACKAGES = (
    "mmengine",
    "mmcv",
    "mmdet",
    "mmrotate",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmrotate",
)


@HOOKS.register_module()
class FeatureMapHook(Hook):  # type: ignore[misc]
    """Stores the feature maps of every batch of the test or validation loop as a run.

    >>> custom_hooks = [dict(                                                # doctest: +SKIP
    ...     type='mmdet.FeatureMapHook', save_dir='runs/s2anet',
    ...     layers=['backbone', 'neck', 'bbox_head_*'],
    ...     names={'bbox_head_init': 'bbox_head_init.s2anet_init'})]

    Args:
        save_dir: Folder of the new run. Validation during training makes one run an epoch below it.
        layers: Names and globs of layers; None captures every part of the model.
        names: Another name in place of `<layer>.<class>` of a layer's folder.
        policy: How much is stored, the fields of `featscope.records.Policy`: dict(dtype='float16',
            reduce='mean', channels='top:16', every=10, max_samples=100, images=['P07*']).
        provenance: Say of each detection which cell, query or region of the head gave it.
        resume: Go on with the run in `save_dir` if there is one. The loop runs whole, for its metrics;
            what is stored already is not stored again.
        on_error: 'raise', or 'warn' to let the test go on without capture when the disk fails.

    Works under `--launcher pytorch`: each rank stores what it sees, and one `open_run` reads all.
    The model, the config and the metrics are untouched.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        save_dir: str,
        layers: Optional[Sequence[str]] = None,
        names: Optional[Mapping[str, str]] = None,
        policy: Union[Policy, Mapping[str, Any], None] = None,
        resume: bool = False,
        on_error: str = "raise",
        provenance: bool = True,
    ) -> None:
        self.save_dir, self.layers, self.names, self.provenance = save_dir, layers, names, provenance
        self.policy, self.resume, self.on_error = make_policy(policy), resume, on_error
        self.summary = ""
        self._wanted = False
        self._loop: Optional[LoopCapture] = None

    @property
    def wanted(self) -> bool:
        """Whether the batch at hand has samples to store."""
        return self._loop is not None and self._wanted

    def before_test_epoch(self, runner: Any) -> None:
        """Start the run."""
        self._start(runner, runner.test_dataloader, Path(self.save_dir))

    def before_val_epoch(self, runner: Any) -> None:
        """Start the run of this epoch."""
        folder = Path(self.save_dir)
        if isinstance(runner._train_loop, BaseLoop):
            folder = folder / f"epoch_{runner.epoch}"
        self._start(runner, runner.val_dataloader, folder)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Name the batch that the model is about to see."""
        if self._loop is not None:
            self._wanted = self._loop.before_batch(batch_idx * runner.world_size + runner.rank, data_batch)

    before_val_iter = before_test_iter

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Optional[Sequence[Any]] = None
    ) -> None:
        """Store what the batch's samples were and what was found."""
        if self._loop is not None:
            self._loop.after_batch(data_batch, outputs or ())

    after_val_iter = after_test_iter

    def after_test_epoch(self, runner: Any, metrics: Optional[Dict[str, float]] = None) -> None:
        """Finish the run, after the metrics are known."""
        if self._loop is not None:
            atexit.unregister(self._abandon)
            loop, self._loop = self._loop, None
            loop.close()
            self.summary = loop.summary()
            runner.logger.info(f"featscope: {self.summary}")

    after_val_epoch = after_test_epoch

    def _start(self, runner: Any, dataloader: Any, folder: Path) -> None:
        self._abandon()
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = dataloader.dataset
        info = RunInfo(
            model=type(model).__name__,
            config=str(getattr(runner.cfg, "filename", "") or ""),
            checkpoint=str(getattr(runner, "_load_from", "") or ""),
            classes=list((getattr(dataset, "metainfo", None) or {}).get("classes") or ()),
            versions=versions_here(),
            command=list(sys.argv),
        )
        self._loop = LoopCapture(
            model,
            folder,
            self.layers,
            truth_is_resized=truth_is_resized(dataset),
            provenance=self.provenance,
            names=self.names,
            policy=self.policy,
            resume=self.resume,
            on_error=self.on_error,
            dataset_size=len(dataset),
            info=info,
            rank=runner.rank,
            world_size=runner.world_size,
        )
        # A test that fails never reaches the end of its epoch: what was captured is written all the same.
        atexit.register(self._abandon)

    def _abandon(self) -> None:
        if self._loop is not None:
            loop, self._loop = self._loop, None
            loop.close(failed=True)


def _register_in_mmdet() -> None:
    """Make `type='mmdet.FeatureMapHook'` known, where MMDetection is installed."""
    try:
        from mmdet.registry import HOOKS as MMDET_HOOKS
    except ImportError:
        return
    MMDET_HOOKS.register_module(module=FeatureMapHook, force=True)


_register_in_mmdet()


class LoopCapture:
    """A capture around a loop of `test_step` calls: batches are named before, described after.

    options: as of `featscope.capture`.
    """

    def __init__(
        self,
        model: nn.Module,
        to: Union[Path, Sink],
        layers: Optional[Sequence[str]],
        truth_is_resized: bool = False,
        provenance: bool = False,
        **options: Any,
    ) -> None:
        patterns = list(layers) if layers is not None else []
        if not any(not p.startswith("!") for p in patterns) and hasattr(model, "data_preprocessor"):
            patterns.append("!data_preprocessor")  # it runs, but makes inputs, not features
        self._to = to
        self._number = -1
        self._truth_is_resized = truth_is_resized
        self.session: Capture = capture(model, patterns, to, **options)
        self.session.__enter__()
        self._traced = ExitStack()
        self._calls = self._traced.enter_context(head_calls(model)) if provenance else HeadCalls()

    def before_batch(self, number: int, data_batch: Mapping[str, Any]) -> bool:
        """The batch that comes: its number and its samples. Returns whether any of them is to be stored."""
        if number == self._number:  # begun already
            return self.session.wanted
        self._calls.clear()
        metas = [sample.metainfo for sample in data_batch["data_samples"]]
        ids = [sample_id(meta, number, i) for i, meta in enumerate(metas)]
        self.session.start_batch(number, ids, [str(meta.get("img_path", "")) for meta in metas])
        self._number = number
        return self.session.wanted

    def after_batch(self, data_batch: Mapping[str, Any], outputs: Sequence[Any]) -> None:
        """What the model made of the batch."""
        inputs = data_batch["inputs"]
        records, pictures = [], []
        candidates = self._candidates(len(outputs))
        for index, output in enumerate(outputs):
            geometry = geometry_of(output.metainfo)
            predictions = boxes_of(output.get("pred_instances"))
            records.append(
                Sample(
                    id=sample_id(output.metainfo, self._number, index),
                    path=str(Path(output.metainfo["img_path"]).absolute()) if "img_path" in output.metainfo else "",
                    geometry=geometry,
                    predictions=predictions,
                    sources=find_sources(candidates[index], predictions) if candidates and predictions else [],
                    truth=boxes_of(output.get("gt_instances"), output.metainfo if self._truth_is_resized else None),
                )
            )
            pictures.append(picture_of(inputs[index], geometry))
        self.session.describe(records, pictures)

    def _candidates(self, count: int) -> Sequence[Any]:
        """The raw outputs that the batch's detections are of; a head that is not known costs the loop nothing."""
        if self._calls.last is None or not self.session.wanted:
            return ()
        try:
            with torch.no_grad():
                found = candidates_of(self._calls.last)
        except Exception as error:  # noqa: BLE001 (a head may be anything, and is the user's; the test goes on)
            warnings.warn(f"featscope cannot trace the detections of this head: {error}", RuntimeWarning, stacklevel=2)
            self._traced.close()
            self._calls = HeadCalls()
            return ()
        return found if len(found) == count else ()

    def close(self, failed: bool = False) -> None:
        """End the capture and finish the run; after a failure the run stays unfinished."""
        self._traced.close()
        kind = RuntimeError if failed else None
        self.session.__exit__(kind, None, None)

    def summary(self) -> str:
        """One line: what was written where."""
        sink: Any = self.session.sink
        return (
            f"{sink.maps_written} maps of {sink.samples_written} samples, {sink.bytes_written / 1e6:.1f} MB, "
            f"in {self._to}"
        )


def versions_here() -> Dict[str, str]:
    """Versions of OpenMMLab's packages that are installed."""
    return versions(*_PACKAGES)


def sample_id(meta: Mapping[str, Any], batch: int, index: int) -> str:
    """The data set's own id of an image; its file's name, or its place, where it has none."""
    if meta.get("img_id") is not None:
        return str(meta["img_id"])
    return Path(meta["img_path"]).stem if meta.get("img_path") else f"{batch}_{index}"


def geometry_of(meta: Mapping[str, Any]) -> Optional[Geometry]:
    """How an image became the network's input, from what the pipeline says of it."""
    if "ori_shape" not in meta:
        return None
    height, width = (int(n) for n in meta["ori_shape"][:2])
    resized = tuple(int(n) for n in meta.get("img_shape", (height, width))[:2])
    padded = tuple(int(n) for n in meta.get("batch_input_shape", meta.get("pad_shape", resized))[:2])
    scale = meta.get("scale_factor")
    if scale is not None:
        # Where the pipeline pads, img_shape is the padded size: the scale alone tells the image's.
        resized = (round(height * float(scale[1])), round(width * float(scale[0])))
    offset = (0, 0)
    if meta.get("pad_param") is not None:  # a letterbox: top, bottom, left, right
        offset = (round(float(meta["pad_param"][0])), round(float(meta["pad_param"][2])))
    flip = str(meta.get("flip_direction") or "horizontal") if meta.get("flip") else ""
    return Geometry((height, width), (resized[0], resized[1]), (padded[0], padded[1]), offset, flip)


def boxes_of(instances: Any, resized_by: Optional[Mapping[str, Any]] = None) -> Optional[Boxes]:
    """Predictions or ground truth, in pixels of the original image."""
    if instances is None or "bboxes" not in instances:
        return None
    boxes = instances.bboxes
    boxes = getattr(boxes, "tensor", boxes)
    values = torch.as_tensor(boxes).detach().cpu().double().numpy()
    form = {4: "xyxy", 5: "cxcywha", 8: "quad"}.get(values.shape[-1] if values.ndim == 2 else 0)
    if form is None:
        return None
    if resized_by is not None and resized_by.get("scale_factor") is not None:
        x, y = (float(s) for s in resized_by["scale_factor"][:2])
        values = values / ([x, y, x, y, 1.0] if form == "cxcywha" else np.resize([x, y], values.shape[-1]))
    found = instances.get("scores")
    scores = np.zeros(len(values)) if found is None else found.detach().cpu().double().numpy()
    real = np.isfinite(values).all(1) & np.isfinite(scores)  # a box that is nowhere is none
    return Boxes(
        form=form,
        boxes=values[real].tolist(),
        labels=np.asarray(instances.labels.tolist(), int)[real].tolist(),
        scores=[] if found is None else scores[real].tolist(),
    )


def truth_is_resized(dataset: Any) -> bool:
    """Whether the pipeline resizes after it loaded the annotations, and them with the image."""
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    kinds = [type(transform).__name__ for transform in transforms]
    loaded = [i for i, kind in enumerate(kinds) if kind == "LoadAnnotations"]
    resized = [i for i, kind in enumerate(kinds) if "Resize" in kind]
    return bool(loaded and resized and loaded[0] < resized[0])


def picture_of(tensor: Any, geometry: Optional[Geometry]) -> Optional[NDArray[np.uint8]]:
    """An input before normalisation, as (H, W, 3) RGB without its padding. MMCV reads BGR."""
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 3 or tensor.shape[0] != 3:
        return None
    picture = tensor.detach().cpu().numpy()[::-1].transpose(1, 2, 0)
    if geometry is not None:
        (top, left), (height, width) = geometry.offset, geometry.resized
        picture = picture[top : top + height, left : left + width]
    return np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8))
