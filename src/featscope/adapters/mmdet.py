"""MMDetection and MMRotate models by config and checkpoint, for the commands."""

from __future__ import annotations

import pickle
import sys
import time
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch

from featscope.capturing.estimate import Footprint
from featscope.capturing.policy import SampleFilter
from featscope.capturing.select import unwrap
from featscope.errors import BadImageError, BadOptionError, CaptureError, MissingPackageError
from featscope.records import Policy, RunInfo

RANDOM = "random"
"""In place of a checkpoint: the weights the model starts with."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_config(path: str, options: Optional[Mapping[str, Any]] = None) -> Any:
    """Read a config of MMEngine and register the modules that it names."""
    try:
        from mmengine.config import Config
    except ImportError:
        raise MissingPackageError(
            "MMEngine is not installed here; featscope runs in the detector's own environment: "
            "pip install featscope there"
        ) from None
    if not Path(path).is_file():
        raise BadOptionError(f"the config {path} does not exist; name a .py file of MMDetection or MMRotate")
    config = Config.fromfile(path)
    if options:
        config.merge_from_dict(dict(options))
    scope = config.get("default_scope") or "mmdet"
    for package in dict.fromkeys(("mmdet", scope)):
        try:
            import_module(f"{package}.utils").register_all_modules(init_default_scope=package == scope)
        except ImportError as error:
            raise MissingPackageError(
                f"the config's default_scope is {scope!r}, and {package} cannot be imported: {error}"
            ) from None
    return config


def build_model(config: Any) -> Any:
    """Build the model of a config, for testing."""
    from mmengine.registry import MODELS

    return MODELS.build(config.model).eval()


def load_checkpoint(model: torch.nn.Module, path: str, trusted: bool = False) -> None:
    """Load a checkpoint's weights, all of them, or say what does not fit.

    Nothing is unpickled but tensors and plain values, unless the file is `trusted`.
    """
    if path == RANDOM:
        return
    if not Path(path).is_file():
        raise BadOptionError(f"the checkpoint {path} does not exist; name a .pth file, or {RANDOM!r} for none")
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0][:160]
        raise CaptureError(
            f"{path} holds more than weights ({reason}); if you trust its source, add --trust-checkpoint"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CaptureError(f"{path} is no checkpoint: {str(error).splitlines()[0][:160]}") from None
    weights: Dict[str, Any] = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {name[7:] if name.startswith("module.") else name: value for name, value in weights.items()}
    own = model.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or other:
        example = ""
        if other:
            shapes = tuple(weights[other[0]].shape), tuple(own[other[0]].shape)
            example = f"; {other[0]} is {shapes[0]} in the file, {shapes[1]} in the model"
        elif missing:
            example = f"; the first that is missing: {missing[0]}"
        raise CaptureError(
            f"{path} does not fit the config: of {len(own)} tensors {len(missing)} are missing and {len(other)} "
            f"have another shape{example}; name the config that the checkpoint was trained with"
        )
    model.load_state_dict(weights, strict=False)


def capture_test_loop(
    config: Any, checkpoint: str, output: Path, layers: Optional[Sequence[str]], trusted: bool = False, **options: Any
) -> str:
    """Run the config's own test loop and capture; returns what was written where.

    options: names, policy, resume and on_error of `FeatureMapHook`. Where some samples are not stored (again),
    their forwards are left out, and the metrics with them.
    """
    from mmengine.runner import Runner

    from featscope.adapters.mmengine import FeatureMapHook

    config.work_dir = str(output / "work_dir")
    config.load_from = None
    runner = Runner.from_cfg(config)
    load_checkpoint(unwrap(runner.model), checkpoint, trusted)
    runner._load_from, runner._has_loaded = checkpoint, True  # loaded above, and for the record
    hook = FeatureMapHook(str(output), layers, **options)
    runner.register_hook(hook, priority=hook.priority)
    policy = hook.policy
    if hook.resume or policy.every > 1 or policy.max_samples or policy.images:
        _leave_out_forwards(runner, hook)
    runner.test()
    return hook.summary


def _leave_out_forwards(runner: Any, hook: Any) -> None:
    """Let the test loop run the model on those batches only of which something is to be stored."""
    loop = runner.test_loop
    run_iter = loop.run_iter

    def run_if_wanted(number: int, batch: Any) -> None:
        hook.before_test_iter(runner, number, batch)
        if hook.wanted:
            run_iter(number, batch)

    loop.run_iter = run_if_wanted
    policy = hook.policy
    if policy.max_samples and not policy.images:
        loop.dataloader = _FirstBatches(loop.dataloader, policy.max_samples * policy.every, runner.world_size)
    loop.evaluator.process = lambda *_args, **_named: None
    loop.evaluator.evaluate = lambda _size: {}


def list_images(paths: Sequence[Path]) -> List[Path]:
    """The images that files and folders stand for, in order."""
    images: List[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise BadImageError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
            images += found
        elif path.exists():
            images.append(path)
        else:
            raise BadImageError(f"the image {path} does not exist")
    return images


def capture_images(
    config: Any,
    checkpoint: str,
    images: Sequence[Path],
    output: Path,
    layers: Optional[Sequence[str]],
    trusted: bool = False,
    done: Callable[[], None] = lambda: None,
    **options: Any,
) -> Tuple[str, List[str]]:
    """Run the model on images and capture; returns what was written where, and the images that failed.

    options: names, policy, resume and on_error of `featscope.capture`.
    """
    from featscope.adapters.mmengine import LoopCapture, versions

    model = build_model(config)
    load_checkpoint(model, checkpoint, trusted)
    info = RunInfo(
        model=type(model).__name__,
        config=str(config.filename or ""),
        checkpoint=checkpoint,
        classes=_classes(config),
        versions=versions(),
        command=list(sys.argv),
    )
    pipeline = pipeline_for_testing(config)
    loop = LoopCapture(model, output, layers, info=info, dataset_size=len(images), **options)
    failed: List[str] = []
    try:
        for number, batch in _batches(images, pipeline, failed, done):
            if loop.before_batch(number, batch):
                with torch.no_grad():
                    outputs = model.test_step(batch)
                loop.after_batch(batch, outputs)
    except BaseException:
        loop.close(failed=True)
        raise
    loop.close(failed=len(failed) == len(images))
    return loop.summary(), failed


class _FirstBatches:
    """A data loader that ends when so many samples came, over all ranks: images behind them are not read."""

    def __init__(self, loader: Any, samples: int, world_size: int) -> None:
        self._loader = loader
        self._count = min(len(loader), -(-samples // (loader.batch_size * world_size)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self._loader), self._count)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class Estimate(NamedTuple):
    """What a run would take: the maps of one sample, the samples it stores, the seconds for each."""

    footprint: Footprint
    samples: int
    of: int
    seconds: float


def estimate(
    config: Any,
    checkpoint: str,
    images: Sequence[Path],
    layers: Optional[Sequence[str]],
    policy: Policy,
    names: Optional[Mapping[str, str]] = None,
    trusted: bool = False,
) -> Estimate:
    """Capture the first sample of a run without storing it, and count."""
    from mmengine.registry import DATASETS

    from featscope.adapters.mmengine import LoopCapture

    model = build_model(config)
    load_checkpoint(model, checkpoint, trusted)
    if images:
        item = pipeline_for_testing(config)({"img_path": str(images[0]), "img_id": images[0].stem})
        sample_names = [(path.stem, str(path)) for path in images]
    else:
        dataset = DATASETS.build(config.test_dataloader.dataset)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))] if policy.images else [{}] * len(dataset)
        sample_names = [(str(info.get("img_id", "")), str(info.get("img_path", ""))) for info in infos]
        item = dataset[0]
    batch = {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}
    footprint = Footprint()
    thinning = Policy(dtype=policy.dtype, reduce=policy.reduce, channels=policy.channels)
    loop = LoopCapture(model, footprint, layers, policy=thinning, names=names, info=None)
    loop.before_batch(0, batch)
    start = time.perf_counter()
    with torch.no_grad():
        model.test_step(batch)
    seconds = time.perf_counter() - start
    loop.close()
    size = len(sample_names)
    kept = len(SampleFilter(policy, size, 0, 1).rows(size, sample_names))
    return Estimate(footprint, kept, size, seconds)


def _batches(
    images: Sequence[Path], pipeline: Callable[[Any], Any], failed: List[str], done: Callable[[], None]
) -> Iterator[Tuple[int, Dict[str, Any]]]:
    number, seen = 0, set()
    for image in images:
        name = image.stem if image.stem not in seen else f"{image.stem}_{number}"
        seen.add(name)
        try:
            item = pipeline({"img_path": str(image), "img_id": name})
        except (OSError, AttributeError, ValueError, AssertionError) as error:  # what mmcv makes of a bad file
            failed.append(f"the image {image} cannot be read: {error}")
            done()
            continue
        yield number, {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}
        number += 1
        done()


def pipeline_for_testing(config: Any, from_array: bool = False) -> Any:
    """The config's pipeline for images without labels; `from_array` lets it start with one in memory."""
    from mmcv.transforms import Compose

    dataset = config.test_dataloader.dataset
    while "pipeline" not in dataset:  # wrapped data sets
        dataset = dataset.get("dataset") or dataset.datasets[0]
    about_labels = ("Annotations", "ConvertBoxType")
    steps = [dict(s) for s in dataset.pipeline if not any(part in s["type"] for part in about_labels)]
    if from_array:
        steps[0] = {"type": "mmdet.LoadImageFromNDArray"}
    return Compose(steps)


def _classes(config: Any) -> List[str]:
    """Names of the classes of the config's data set, without reading the data set."""
    from mmengine.registry import DATASETS

    dataset = config.test_dataloader.dataset
    own = (dataset.get("metainfo") or {}).get("classes")
    name = str(dataset.get("type", ""))
    kind = DATASETS.get(name if "." in name else f"{config.get('default_scope') or 'mmdet'}.{name}")
    return list(own or (getattr(kind, "METAINFO", None) or {}).get("classes") or ())


def one_forward(config: Any, image: Optional[Path] = None) -> Tuple[Any, Callable[[], Any]]:
    """A model of a config and a call that runs it once, on an image or on noise of 1024 x 1024."""
    model = build_model(config)
    if image is not None:
        item = pipeline_for_testing(config)({"img_path": str(list_images([image])[0]), "img_id": 0})
    else:
        noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
        item = pipeline_for_testing(config, from_array=True)({"img": noise, "img_id": 0})
    batch = {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}

    def run() -> Any:
        with torch.no_grad():
            return model.test_step(batch)

    return model, run
