"""Functions and arguments shared by the commands that open a detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from featscope.cli import completion
from featscope.cli.checks import pairs, size
from featscope.cli.options import argument
from featscope.errors import BadOptionError

if TYPE_CHECKING:
    from featscope.analysis.what_if import CandidatesOf
    from featscope.arrays.candidates import ImageCandidates
    from featscope.records import Boxes, Sample
    from featscope.store.reader import Run

model = argument(
    "MODEL",
    "A config (.py) of MMDetection or MMRotate, ADAPTER:NAME, module.path:factory, a .onnx file, or 'demo'.",
    complete=completion.models,
)
checkpoint = argument("CHECKPOINT", "Its weights, or 'random'. Leave it out if the model has its own.", "")


def opening(
    input_size: str = "",
    preprocess: str = "",
    threshold: Optional[float] = None,
    trusted: bool = False,
    config: Optional[List[str]] = None,
    inputs: Optional[List[str]] = None,
) -> Dict[str, Any]:
    """Convert options about how to open a detector to fields of `featscope.adapters.detector.Opening`."""
    return {
        "input_size": size(input_size),
        "preprocess": preprocess,
        "score_threshold": threshold,
        "trusted": trusted,
        "config_options": config_options(config),
        "inputs": pairs(inputs, "--input"),
    }


def open_named(name: str, weights: str, **options: Any) -> Any:
    """Open the detector that a user named. options: as in `opening`."""
    from featscope.adapters.opening import open_detector

    return open_detector(name, weights, **opening(**options))


def function_named(text: str, option: str) -> Any:
    """Import the function that a user named as module.path:function. Raises `BadOptionError` for anything else."""
    from featscope.adapters.opening import import_named

    function = import_named(text, f"{option} module.path:function")
    if not callable(function):
        raise BadOptionError(f"{text!r} is a {type(function).__name__}; type {option} module.path:function")
    return function


def given_axes(axes: Optional[List[str]], grids: Optional[List[str]]) -> Dict[str, str]:
    """Return what --axes and --grid say, in the form of the parameter `axes` of `featscope.capture`."""
    return {**pairs(axes, "--axes"), **pairs(grids, "--grid")}


def config_options(texts: Optional[List[str]]) -> Dict[str, object]:
    """Parse KEY=VALUE pairs. The values are read as MMEngine's own tools read them."""
    from argparse import ArgumentParser

    if not pairs(texts, "--cfg-options"):
        return {}
    from mmengine.config import DictAction

    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    options: Dict[str, object] = parser.parse_args(["--cfg-options", *(texts or ())]).cfg_options
    return options


def images_of(paths: Optional[List[Path]]) -> List[Path]:
    """Return the images that were named, with those in named folders."""
    from featscope.adapters.feeding import list_images

    return list_images(paths) if paths else []


def truth_of(run: Run, annotations: Optional[Path]) -> Optional[Mapping[str, Boxes]]:
    """Return the ground truth that a user gives for a run, by sample, and print what does not fit; None without one.

    Polygons with four corners are boxes if the run's detections are rotated.
    """
    if annotations is None:
        return None
    from featscope.cli.console import remark
    from featscope.store.truth import detects_rotated, read_truth

    found = read_truth(annotations, run, rotated=any(detects_rotated(sample) for sample in run.samples.values()))
    for note in found.notes:
        remark(note)
    return found.boxes


def next_step(output: Path, objects: bool) -> str:
    """Say what to type after a capture. objects: whether it stored objects in place of maps."""
    return f"list them: featscope objects {output}" if objects else f"draw them: featscope heat {output}"


def candidates_of(run: Run, checkpoint: str, trusted: bool) -> CandidatesOf:
    """Return a function that gives the candidates of a sample: stored ones, or else computed again by the run's model.

    The model is opened for the first sample that needs it. If it cannot be opened, this is printed once.
    """
    from functools import lru_cache

    from featscope.cli.console import remark
    from featscope.errors import FeatscopeError
    from featscope.store.candidates import read_candidates

    @lru_cache(None)
    def model() -> Optional[CandidatesOf]:
        recorded = run.info.checkpoint if run.info is not None else ""
        if not checkpoint and len(Path(recorded).parts) > 1 and not Path(recorded).exists():
            remark(
                f"the run stores no candidates, and its weights are gone: {recorded}; where they have moved to, "
                f"featscope misses {run.folder} CHECKPOINT uses them; capture --candidates stores candidates"
            )
            return None
        try:
            from featscope.adapters.recomputing import CandidatesAgain

            return CandidatesAgain(run, checkpoint, trusted=trusted)
        except (FeatscopeError, ImportError) as error:
            remark(f"the run stores no candidates, and its model cannot compute them again: {error}")
            return None

    def candidates(sample: Sample) -> Optional[ImageCandidates]:
        stored = read_candidates(run, sample)
        if stored is not None:
            return stored
        again = model()
        return again(sample) if again is not None else None

    return candidates
