"""Open models of MMDetection and MMRotate by config and checkpoint, for the commands."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, cast

import torch
from msgspec.structs import replace

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    need_checkpoint,
    no_candidates,
    refuse_unused,
)
from featscope.adapters.feeding import Captured
from featscope.adapters.mm.heads import HeadCalls, candidates_of, has_box_head, head_calls
from featscope.adapters.mm.reading import reading_of
from featscope.adapters.mm.runners import versions_here
from featscope.adapters.mm.samples import believed_geometry, boxes_of, geometry_of, picture_of, sample_id
from featscope.adapters.weights import load_checkpoint
from featscope.capturing.layers import unwrap
from featscope.errors import BadImageError, BadOptionError, FeatscopeWarning, MissingPackageError
from featscope.explaining.candidates import Candidates
from featscope.records import Geometry, Picture, RunInfo, Sample

if TYPE_CHECKING:
    from mmcv.transforms import Compose
    from mmdet.models.detectors import BaseDetector
    from mmengine.config import Config, ConfigDict
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    from featscope.adapters.mm.hook import DataBatch, FeatureMapHook


def read_config(path: str, options: Optional[Mapping[str, object]] = None) -> Config:
    """Read a config of MMEngine, and register the modules of its scope."""
    try:
        from mmengine.config import Config
    except ImportError:
        raise MissingPackageError(
            "MMEngine is not installed here; featscope runs in the detector's own environment: "
            "pip install featscope there"
        ) from None
    if not Path(path).is_file():
        raise BadOptionError(f"the config {path} does not exist; give a .py file of MMDetection or MMRotate")
    config = Config.fromfile(path)
    if options:
        config.merge_from_dict(dict(options))
    scope = config.get("default_scope") or "mmdet"
    for package in dict.fromkeys(("mmdet", scope)):
        try:
            import_module(f"{package}.utils").register_all_modules(init_default_scope=package == scope)
        except ImportError as error:
            raise MissingPackageError(
                f"the config's default_scope is {scope!r}, but {package} cannot be imported: {error}"
            ) from None
    return config


_Packed = Mapping[str, Any]  # the output of a pipeline: 'inputs', an image, and 'data_samples', its description


class MMDetector(Detector):
    """A model of MMDetection or MMRotate. The test pipeline of its config prepares the images.

    config: the config of MMEngine, with its test set.
    """

    not_features = ("data_preprocessor",)

    model: BaseDetector

    def __init__(self, model: BaseDetector, info: RunInfo, config: Config) -> None:
        super().__init__(model.eval(), info)
        self.config = config
        self.layer_to_explain = "neck" if getattr(model, "with_neck", False) else "backbone"
        self._pipelines: Dict[bool, Compose] = {}

    @property
    def traceable(self) -> bool:
        """Whether the raw outputs are known."""
        return has_box_head(self.model)

    def test_set(self) -> List[Tuple[str, Path]]:
        """Return the id and the file of each sample in the config's test set."""
        from mmengine.registry import DATASETS

        dataset = DATASETS.build(self.config.test_dataloader.dataset)
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        return [(sample_id(info) or str(index), Path(info["img_path"])) for index, info in enumerate(infos)]

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Run the test pipeline on an image file or a picture."""
        from_array = not isinstance(image, Path)
        if from_array not in self._pipelines:
            self._pipelines[from_array] = pipeline_for_testing(self.config, from_array)
        data: Dict[str, object] = {"img_id": sample_id}
        data.update({"img_path": str(image)} if isinstance(image, Path) else {"img": image[:, :, ::-1]})
        try:
            item = self._pipelines[from_array](data)
        except (OSError, AttributeError, ValueError, AssertionError) as error:  # errors of MMCV for a damaged file
            name = image if isinstance(image, Path) else sample_id
            raise BadImageError(f"the image {name} cannot be read: {error}") from None
        meta = item["data_samples"].metainfo
        path = "" if from_array else str(Path(str(image)).absolute())
        reading = "" if from_array else reading_of(self._pipelines[from_array])
        sample = Sample(id=sample_id, path=path, geometry=geometry_of(meta), reading=reading)
        return Item(sample, item, picture_of(item["inputs"]))

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run `test_step`."""
        packed = [cast(_Packed, item.inputs) for item in items]
        batch = {
            "inputs": [one["inputs"] for one in packed],
            "data_samples": [one["data_samples"].clone() for one in packed],
        }
        with head_calls(self.model, tolerant=True) as noted:
            outputs = self.model.test_step(batch)
        if noted.unsupported:
            warnings.warn(f"there are only maps, without boxes: {noted.unsupported}", FeatscopeWarning, stacklevel=2)
        geometries = [geometry_of(output.metainfo) for output in outputs]
        head = noted.last.head if noted.last is not None else getattr(self.model, "bbox_head", None)
        believed = [believed_geometry(one.metainfo, geometry, head) for one, geometry in zip(outputs, geometries)]
        raw: Sequence[Optional[Candidates]] = [None] * len(items)
        untraced = ""
        if candidates:
            raw, untraced = self._candidates(noted, believed, geometries)
        samples = [
            replace(
                item.sample,
                geometry=geometry,
                predictions=None if noted.unsupported else boxes_of(output.get("pred_instances"), belief, geometry),
            )
            for item, output, belief, geometry in zip(items, outputs, believed, geometries)
        ]
        return [Detected(sample, found, untraced) for sample, found in zip(samples, raw)]

    def _candidates(
        self, noted: HeadCalls, believed: Sequence[Optional[Geometry]], geometries: Sequence[Optional[Geometry]]
    ) -> Tuple[Sequence[Optional[Candidates]], str]:
        """Return the raw outputs of each item, or why there are none. The user's head may raise any error."""
        count = len(geometries)
        if noted.last is None:
            return [None] * count, str(no_candidates(self))
        if noted.unsupported:
            return [None] * count, f"boxes cannot be computed on this device: {noted.unsupported}"
        try:
            found = candidates_of(noted.last, believed, geometries)
        except Exception as error:  # noqa: BLE001
            kind = type(noted.last.head).__name__
            return [None] * count, f"the raw outputs of {kind} could not be read: {error}"
        return (
            (found, "")
            if len(found) == count
            else ([None] * count, "the head returned boxes for a different number of images")
        )


def open_detector(opening: Opening) -> MMDetector:
    """Open the model of a config with the weights of a checkpoint."""
    refuse_unused(
        opening,
        input_size="the config's test pipeline resizes the images; change the config: --cfg-options",
        preprocess="the config's test pipeline prepares the images",
    )
    checkpoint = need_checkpoint(opening, "a checkpoint (.pth)")
    config = read_config(opening.target, opening.config_options)
    if opening.score_threshold is not None:
        _set_threshold(config.model, opening.score_threshold)
    torch.manual_seed(opening.seed)
    model = build_model(config)
    load_checkpoint(model, checkpoint, opening.trusted)
    return MMDetector(model, run_info(config, model, checkpoint), config)


def run_info(config: Config, model: torch.nn.Module, checkpoint: str) -> RunInfo:
    """Return what a run records about a model and its config."""
    return RunInfo(
        model=type(model).__name__,
        config=str(config.filename or ""),
        checkpoint=checkpoint,
        classes=_classes(config),
        versions=versions_here(),
        command=list(sys.argv),
    )


def _set_threshold(model: ConfigDict, threshold: float) -> None:
    """Set the score threshold of a config's detections for all kinds of heads."""
    tests = [model.get("test_cfg"), *((model.get(part) or {}).get("test_cfg") for part in ("bbox_head", "roi_head"))]
    for test in tests:
        for config in (test, (test or {}).get("rcnn")):
            if isinstance(config, dict) and "score_thr" in config:
                config["score_thr"] = threshold


def build_model(config: Config) -> BaseDetector:
    """Build the model of a config, for testing."""
    from mmengine.registry import MODELS

    return MODELS.build(config.model).eval()


def capture_test_loop(
    config: Config,
    checkpoint: str,
    output: Path,
    layers: Optional[Sequence[str]],
    trusted: bool = False,
    **options: Any,
) -> Captured:
    """Run the config's own test loop and capture.

    options: names, policy, resume, provenance and on_error of `FeatureMapHook`. If some samples are not to be stored,
    or are already stored, their forwards are skipped, and no metrics are computed.
    """
    from mmengine.runner import Runner

    from featscope.adapters.mm.hook import FeatureMapHook

    config.work_dir = str(output / "work_dir")
    config.load_from = None
    runner = Runner.from_cfg(config)
    load_checkpoint(unwrap(runner.model), checkpoint, trusted)
    runner._load_from, runner._has_loaded = checkpoint, True  # the weights are loaded above; this records their path
    hook = FeatureMapHook(str(output), layers, **options)
    hook.makes_room = False  # the user named this folder, so a run in it is an error
    runner.register_hook(hook, priority=hook.priority)
    policy = hook.policy
    if hook.resume or policy.every > 1 or policy.max_samples or policy.images:
        _leave_out_forwards(runner, hook)
    runner.test()
    return Captured(hook.written, hook.failures, hook.remarks)


def _leave_out_forwards(runner: Runner, hook: FeatureMapHook) -> None:
    """Run the model only on batches from which something is to be stored."""
    loop = runner.test_loop
    run_iter = loop.run_iter

    def run_if_wanted(number: int, batch: DataBatch) -> None:
        if hook.wants(runner, number, batch):
            run_iter(number, batch)

    loop.run_iter = run_if_wanted
    policy = hook.policy
    if policy.max_samples and not policy.images:
        loop.dataloader = _FirstBatches(loop.dataloader, policy.max_samples * policy.every, runner.world_size)
    loop.evaluator.process = lambda *_args, **_named: None
    loop.evaluator.evaluate = lambda _size: {}


class _FirstBatches:
    """A data loader that ends after a number of samples, over all ranks. Later images are not read."""

    def __init__(self, loader: DataLoader[DataBatch], samples: int, world_size: int) -> None:
        self._loader = loader
        self._count = min(len(loader), -(-samples // ((loader.batch_size or 1) * world_size)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[DataBatch]:
        return islice(iter(self._loader), self._count)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)


def pipeline_for_testing(config: Config, from_array: bool = False) -> Compose:
    """Return the config's pipeline for images without labels. from_array: it starts with an image in memory."""
    from mmcv.transforms import Compose

    dataset = config.test_dataloader.dataset
    while "pipeline" not in dataset:  # data sets that wrap others
        dataset = dataset.get("dataset") or dataset.datasets[0]
    about_labels = ("Annotations", "ConvertBoxType")
    steps = [dict(s) for s in dataset.pipeline if not any(part in s["type"] for part in about_labels)]
    if from_array:
        steps[0] = {"type": "mmdet.LoadImageFromNDArray"}
    return Compose(steps)


def _classes(config: Config) -> List[str]:
    """Return the class names of the config's data set, without reading the data set."""
    from mmengine.registry import DATASETS

    dataset = config.test_dataloader.dataset
    own = (dataset.get("metainfo") or {}).get("classes")
    name = str(dataset.get("type", ""))
    kind = DATASETS.get(name if "." in name else f"{config.get('default_scope') or 'mmdet'}.{name}")
    return list(own or (getattr(kind, "METAINFO", None) or {}).get("classes") or ())
