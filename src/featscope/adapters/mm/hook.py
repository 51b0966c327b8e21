"""A hook for MMEngine (MMDetection, MMRotate, ...) that captures in the test and validation loops.

In a config::

    custom_imports = dict(imports=['featscope.adapters.mmengine'])
    custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir='runs/s2anet')]
"""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Set, Union

from mmengine.dataset import BaseDataset
from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from msgspec.structs import replace
from torch import nn
from torch.utils.data import DataLoader

from featscope.adapters.detector import features_only
from featscope.adapters.mm.companion import MMCompanion, network_of
from featscope.adapters.mm.reading import reading_of
from featscope.adapters.mm.runners import NOT_FEATURES, info_of, trains
from featscope.adapters.mm.samples import annotations_of
from featscope.capturing.calls import ModelCall
from featscope.capturing.policy import make_policy
from featscope.capturing.session import Capture
from featscope.capturing.start import capture
from featscope.errors import FeatscopeError, OutputError
from featscope.measuring.detections import keep_places_of_heads
from featscope.records import Policy, Written
from featscope.store.writer import info_name, read_info

DataBatch = Union[Mapping[str, object], Sequence[object]]
"""A batch of MMEngine's data loader: images and data samples, as a dict or a sequence."""


@HOOKS.register_module()
class FeatureMapHook(Hook):  # type: ignore[misc]
    """Stores the feature maps of every batch of the test or validation loop as a run.

    >>> custom_hooks = [dict(                                                # doctest: +SKIP
    ...     type='mmdet.FeatureMapHook', save_dir='runs/s2anet',
    ...     layers=['backbone', 'neck', 'bbox_head_*'],
    ...     names={'bbox_head_init': 'bbox_head_init.s2anet_init'})]

    Args:
        save_dir: Folder of the new run. The validations during a training make one run each in it, `epoch_1` or
            `iter_2000`, depending on what the training counts. If a folder already holds a run, the new run goes into
            `<folder>_2`, and the log says so.
        layers: Names and globs of layers; None captures every part of the model.
        names: Layer -> the name of its folder, in place of `<layer>.<class>`.
        policy: How much is stored, as the fields of `featscope.records.Policy`: dict(dtype='float16',
            reduce='mean', channels='top:16', every=10, max_samples=100, images=['P07*']).
        candidates: Store all raw outputs of the head too, as the policy's field of this name does.
        provenance: Find for each detection which cell, query or region of the head gave it.
        resume: Continue the run in `save_dir` if there is one. The whole loop runs, for its metrics; batches that are
            already stored are not stored again.
        on_error: 'raise', or 'warn' to let the test continue without a capture if the disk fails.
        axes: Axes of layers that cannot be followed from the image: dict(**{'backbone.*': 'NHWC'}).

    The hook works under `--launcher pytorch`: each rank stores what it processes, and one `open_run` reads everything.
    With test-time augmentation (`--tta`) each view of an image is a sample. The model, the config and the metrics are
    not changed. An unknown layer is an error before any work starts. All other problems are errors in the log and do
    not stop the loop.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        save_dir: str,
        layers: Optional[Sequence[str]] = None,
        names: Optional[Mapping[str, str]] = None,
        policy: Union[Policy, Mapping[str, object], None] = None,
        resume: bool = False,
        on_error: str = "raise",
        provenance: bool = True,
        axes: Optional[Mapping[str, str]] = None,
        candidates: bool = False,
    ) -> None:
        self.save_dir, self.layers, self.names, self.provenance = save_dir, layers, names, provenance
        self.policy, self.resume, self.on_error, self.axes = make_policy(policy), resume, on_error, axes
        if candidates:
            self.policy = replace(self.policy, candidates=True)
        #: Whether the new run gets another folder if there is already a run; if not, that is an error.
        self.makes_room = True
        self.written = Written(0, 0, 0, str(save_dir))
        self.failures: List[str] = []
        self.remarks: List[str] = []
        self._session: Optional[Capture] = None
        self._companion: Optional[MMCompanion] = None
        self._used: Set[Path] = set()
        self._traces = provenance or self.policy.candidates

    def before_run(self, runner: Runner) -> None:
        """Raise errors before any work starts: for an unknown layer, or a model that cannot be watched."""
        model = network_of(runner.model)[0]
        capture(
            model, self._patterns(model), names=self.names, policy=self.policy, on_error=self.on_error, axes=self.axes
        )

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the run."""
        self._start(runner, runner.test_dataloader, Path(self.save_dir))

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the run of this validation."""
        folder = Path(self.save_dir)
        if trains(runner):
            by_iterations = isinstance(runner._train_loop, IterBasedTrainLoop)
            folder = folder / (f"iter_{runner.iter}" if by_iterations else f"epoch_{runner.epoch}")
        self._start(runner, runner.val_dataloader, folder)

    def wants(self, runner: Runner, batch_idx: int, data_batch: DataBatch) -> bool:
        """Begin a batch by hand. Returns whether it has samples to store; if not, its forward can be skipped."""
        if self._session is None or self._companion is None:
            return True
        known = self._companion.before(ModelCall("test_step", (), {"data": data_batch}))
        samples = known.samples if known is not None else ()
        number = batch_idx * runner.world_size + runner.rank
        self._session.start_batch(number, [one.id for one in samples], [one.path for one in samples])
        return self._session.wanted

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Finish the run after the metrics are computed, and log problems."""
        if self._session is None:
            return
        atexit.unregister(self._abandon)
        session, self._session = self._session, None
        try:
            session.close()
        finally:
            self.written, self.failures, self.remarks = session.written, list(session.failures), list(session.remarks)
            for failure in self.failures:
                runner.logger.error(f"featscope: {failure}")
            for remark in self.remarks:
                runner.logger.warning(f"featscope: {remark}")
        folder = Path(self.written.place)
        info = read_info(folder, info_name(runner.rank)) if (folder / info_name(runner.rank)).exists() else None
        if info is None or not info.finished:
            runner.logger.error(f"featscope: the run in {folder} is unfinished")
        else:
            keep_places_of_heads(folder)
        runner.logger.info(f"featscope: {self.written}")

    after_val_epoch = after_test_epoch

    def _patterns(self, model: nn.Module) -> List[str]:
        return features_only(self.layers, [name for name in NOT_FEATURES if hasattr(model, name)])

    def _start(self, runner: Runner, dataloader: DataLoader[DataBatch], folder: Path) -> None:
        self._abandon()
        model, augmenting = network_of(runner.model)
        dataset: BaseDataset = dataloader.dataset
        companion = MMCompanion(
            model, True, annotations_of(dataset), self._traces, augmenting, reading=reading_of(dataset)
        )
        try:
            folder = self._own(runner, folder)
            self._session = capture(
                model,
                self._patterns(model),
                folder,
                companion=companion,
                names=self.names,
                policy=self.policy,
                axes=self.axes,
                resume=self.resume and folder not in self._used,
                # After the loop has begun, only an error of the disk may end it.
                on_error="disk" if self.on_error == "raise" else self.on_error,
                dataset_size=len(dataset),
                info=info_of(model, runner, dataset),
                rank=runner.rank,
                world_size=runner.world_size,
            ).__enter__()
        except FeatscopeError as error:
            companion.close()
            of_disk = isinstance(error, OutputError)
            if (of_disk and self.on_error == "raise") or not (of_disk or trains(runner)):
                raise
            self.failures = [f"nothing is captured: {error}"]
            runner.logger.error(f"featscope: nothing is captured: {error}")
            return
        self._companion = companion
        self._used.add(folder)
        # A test that fails does not reach the end of its epoch, so the captured maps are written at exit.
        atexit.register(self._abandon)

    def _own(self, runner: Runner, folder: Path) -> Path:
        """Choose a folder that does not hold a run yet, the same one on all ranks."""
        chosen, number = folder, 1
        while (chosen in self._used or not self.resume) and self.makes_room and _holds_a_run(chosen):
            number += 1
            chosen = folder.with_name(f"{folder.name}_{number}")
        agreed = [str(chosen)]
        broadcast_object_list(agreed)
        if agreed[0] != str(folder):
            runner.logger.warning(f"featscope: {folder} holds a run already; the new run goes into {agreed[0]}")
        return Path(agreed[0])

    def _abandon(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close(failed=True)


def _holds_a_run(folder: Path) -> bool:
    names = (info_name(0), "manifest-00000.jsonl", "samples-00000.jsonl")
    return any((folder / name).exists() and (folder / name).stat().st_size for name in names)


def _register_in_mmdet() -> None:
    """Register `type='mmdet.FeatureMapHook'` if MMDetection is installed."""
    try:
        from mmdet.registry import HOOKS as MMDET_HOOKS
    except ImportError:
        return
    MMDET_HOOKS.register_module(module=FeatureMapHook, force=True)


_register_in_mmdet()
