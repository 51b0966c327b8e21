"""`featscope explain`: which features made a box."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import typer

from featscope.cli import models
from featscope.errors import BadOptionError, FeatscopeError, unknown_name
from featscope.explaining.methods import help_text

if TYPE_CHECKING:
    from featscope.explaining.faithfulness import Faithfulness
    from featscope.records import MeasuredPlace, Sample
    from featscope.store.places import Key


def run(
    source: str = typer.Argument(
        "", metavar="RUN|MODEL", help="A run, or a model as `featscope capture` takes it; not needed with --predict."
    ),
    checkpoint: str = typer.Argument("", metavar="[CHECKPOINT]", help=models.CHECKPOINT),
    images: Optional[List[Path]] = typer.Option(
        None, "--images", "-i", help="An image or a folder of images, with MODEL."
    ),
    output: Optional[Path] = typer.Option(
        None, "-o", "--output", metavar="DIR", help="Folder for pictures; RUN/explain."
    ),
    show: bool = typer.Option(False, "--list", help="Only list a run's detections, and which raw output gave each."),
    layer: str = typer.Option("", "--layer", "-l", help="Explain at this layer; several, as levels of one, by comma."),
    method: Optional[List[str]] = typer.Option(None, "--method", "-m", help=help_text()),
    top: int = typer.Option(5, min=1, help="Explain so many detections of an image, best first."),
    label: str = typer.Option("", "--class", metavar="NAME", help="Only detections of this class."),
    box: Optional[List[int]] = typer.Option(None, "--box", min=0, help="Only this detection, by its number in --list."),
    side: str = typer.Option(
        "", help="Explain this number of the box: left, top, right, bottom; x, y, width, height, angle."
    ),
    target: str = typer.Option(
        "",
        metavar="MODULE:FUNCTION",
        help="Explain what this function makes of the model's output for an image: one number.",
    ),
    predict: str = typer.Option(
        "",
        metavar="MODULE:FUNCTION",
        help="In place of MODEL: a function from pictures (N, H, W, 3) to (boxes, scores, labels) of each; for d-rise.",
    ),
    sample: str = typer.Option("", "--sample", metavar="GLOB", help="Only images of a run whose id matches."),
    masks: int = typer.Option(1000, min=1, help="Random masks of d-rise."),
    batch_size: int = typer.Option(4, min=1, help="Images of one forward of d-rise, score-cam, ablation-cam."),
    faithfulness: bool = typer.Option(
        False, "--faithfulness", help="Measure the maps: pointing game, energy in the box, deletion, insertion."
    ),
    input_size: str = models.input_size,
    preprocess: str = models.preprocess,
    inputs: Optional[List[str]] = models.inputs,
    score_threshold: Optional[float] = models.score_threshold,
    cfg_options: Optional[List[str]] = models.cfg_options,
    trust_checkpoint: bool = models.trust_checkpoint,
) -> None:
    """Draw what made single detections, or list where they come from.

    A run's model is opened as it was for the capture, and must find the recorded boxes again.

    \b
    Examples:
      featscope explain runs/s2anet --list
      featscope explain runs/s2anet --sample P0706 --top 3
      featscope explain runs/s2anet --box 12 -l bbox_head_refine.0.or_conv -m odam -m layercam
      featscope explain s2anet.py s2anet.pth -i harbour.png -o why --class ship
      featscope explain demo -i harbour.png -o why --side angle
      featscope explain torchvision:fasterrcnn_resnet50_fpn weights.pth -i photo.jpg -o why -m d-rise
      featscope explain s2anet.py s2anet.pth -i photos/ -o why -m all --faithfulness
    \b
    A detector of your own:
      featscope explain my.package:make_model weights.pth -i photo.jpg -l neck --target my.package:score
      featscope explain --predict my.package:detect -i photo.jpg -m d-rise
    """
    run_folder = Path(source) if source and (Path(source) / "run.json").is_file() else None
    if show:
        _list(source, run_folder, sample)
        return
    from featscope.cli.console import finish, progress
    from featscope.explaining.explainer import Explainer
    from featscope.explaining.methods import WITHOUT_LAYER
    from featscope.explaining.targets import Choice
    from featscope.store.places import levels_of

    options: Dict[str, Any] = {
        "size": input_size,
        "preprocess": preprocess,
        "threshold": score_threshold,
        "trusted": trust_checkpoint,
        "config": cfg_options,
        "inputs": inputs,
    }
    work = _opened(source, checkpoint, run_folder, sample, images, predict, options)
    output = output or (run_folder / "explain" if run_folder is not None else Path("featscope-explain"))
    detector = _aimed(work.detector, target, bool(predict))
    layer = layer or detector.layer_to_explain
    explainer = Explainer(
        detector,
        layer,
        method or ([WITHOUT_LAYER] if predict else ()),
        Choice(None if box else top, label, box or ()),
        side,
        levels_of(work.places, layer),
        masks=masks,
        batch_size=batch_size,
    )
    maps, boxes, errors = 0, 0, []
    results: List[Faithfulness] = []
    with progress("images", len(work.images)) as done:
        for one, path in work.images:
            try:
                item = work.detector.prepare(path, one.id)
                choice = explainer.choice._replace(recorded=one if run_folder is not None else None)
                found = explainer.explain(item, choice)
            except FeatscopeError as error:
                errors.append(str(error))
                continue
            finally:
                done()
            for explanation in found:
                explanation.save(output)
            if any(explanation.target.number < 0 for explanation in found):
                score = found[0].target.score
                explainer.remarks.append(
                    f"{one.id} has no such detection: its best raw score, {score:.3g}, was explained"
                )
            maps += len(found)
            boxes += len({explanation.target.number for explanation in found})
            if faithfulness:
                from featscope.explaining.faithfulness import measure

                results += measure(detector, item, found, batch_size)
    if faithfulness:
        _tell_faithfulness(results, output)
    text = f"{maps} maps of {boxes} {'targets' if target else 'boxes'} in {len(work.images)} images, in {output}"
    finish(text, [*errors, *explainer.errors], explainer.remarks)


class _Work(NamedTuple):
    """What is explained: a detector, the images, and where its cells were measured to look."""

    detector: Any
    images: List[Tuple[Sample, Path]]
    places: Mapping[Key, MeasuredPlace]


def _opened(
    source: str,
    checkpoint: str,
    folder: Optional[Path],
    glob: str,
    images: Optional[List[Path]],
    predict: str,
    options: Dict[str, Any],
) -> _Work:
    if folder is not None:
        from featscope.adapters.reopening import images_of_run, reopen
        from featscope.store.reader import open_run

        opened = open_run(folder)
        named = images_of_run(opened, glob)
        instead = "name the model: featscope explain MODEL -i photo.jpg"
        detector = reopen(opened, checkpoint, instead, **models.opening(**options))
        return _Work(detector, named, opened.places)
    from featscope.adapters.images import named_images
    from featscope.adapters.opening import split_name
    from featscope.records import Sample

    if not source and not predict:
        raise BadOptionError("name a run or a model: featscope explain RUN, or featscope explain MODEL -i photo.jpg")
    if source:
        split_name(source)
    files = [(Sample(name, str(path)), path) for name, path in named_images(models.images_of(images))]
    if not files:
        raise BadOptionError(f"no image to explain: name one, featscope explain {source or '...'} -i photo.jpg")
    if predict:
        if source:
            raise BadOptionError(f"{source} and --predict are two detectors; leave one of them out")
        from featscope.explaining.own import OwnPredict

        return _Work(OwnPredict(models.function_named(predict, "--predict")), files, {})
    return _Work(models.open_named(source, checkpoint, **options), files, {})


def _aimed(detector: Any, target: str, predicts: bool) -> Any:
    """The detector, or what a function makes of its output."""
    if target:
        from featscope.explaining.own import OwnTarget

        return OwnTarget(detector, models.function_named(target, "--target"))
    if not predicts and not detector.traceable:
        from featscope.adapters.detector import no_candidates

        raise no_candidates(detector)
    return detector


def _tell_faithfulness(results: List[Faithfulness], output: Path) -> None:
    """Print the table; write it and its curves."""
    from rich.console import Console

    from featscope.cli.console import Table
    from featscope.explaining.drawing import write_faithfulness
    from featscope.explaining.faithfulness import table

    rows = table(results)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    headings = ("method", "size", "boxes", "pointing", "energy in box", "deletion", "insertion")
    for heading in headings:
        shown.add_column(heading, justify="left" if heading in headings[:2] else "right", no_wrap=True)
    for method, size, count, *values in rows:
        shown.add_row(method, size, str(count), *(f"{value:.3f}" for value in values))
    Console(width=120 if not Console().is_terminal else None).print(shown)
    typer.echo("pointing, energy, insertion: more is better; deletion: less is better")
    write_faithfulness(results, rows, output)


def _list(source: str, folder: Optional[Path], glob: str) -> None:
    """Print a run's detections and their sources."""
    from fnmatch import fnmatchcase

    from rich.console import Console

    from featscope.cli.console import Table, closing
    from featscope.store.reader import open_run

    if folder is None:
        raise BadOptionError(f"{source} is no run; capture one first: featscope capture MODEL -i photo.jpg -o RUN")
    opened = open_run(folder)
    classes = opened.info.classes if opened.info else []
    samples = [s for s in opened.samples.values() if not glob or fnmatchcase(s.id, glob)]
    if not samples:
        raise unknown_name("sample", glob, opened.samples, f"featscope list {folder}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("sample", "--box", "class", "score", "box", "source"):
        table.add_column(heading, justify="right" if heading in ("--box", "score") else "left", no_wrap=True)
    counts = {"one source": 0, "a tie": 0, "not found": 0, "not traced": 0}
    for sample in samples:
        found = sample.predictions
        for number, (box, label) in enumerate(zip(found.boxes, found.labels) if found else ()):
            sources = sample.sources[number] if sample.sources else None
            state = (
                "not traced"
                if sources is None
                else ("not found", "one source")[len(sources)]
                if len(sources) < 2
                else "a tie"
            )
            counts[state] += 1
            table.add_row(
                sample.id,
                str(number),
                classes[label] if label < len(classes) else str(label),
                f"{found.scores[number]:.3f}" if found and found.scores else "",
                " ".join(f"{value:.1f}" for value in box[:4]) + (f" {box[4]:.2f}" if len(box) == 5 else ""),
                " = ".join(map(_words, sources[:3])) + (f" = {len(sources) - 3} more" if len(sources) > 3 else "")
                if sources
                else state,
            )
    Console(width=200 if not Console().is_terminal else None).print(table)
    closing(
        f"{sum(counts.values())} detections of {len(samples)} images: "
        + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        + f"; explain one: featscope explain {folder} --box 0"
    )


def _words(source: Any) -> str:
    if source.kind != "cell":
        return f"{source.kind} {source.index}"
    anchor = f" anchor {source.anchor}" if source.anchor else ""
    return f"level {source.level} row {source.row} column {source.column}{anchor}"
