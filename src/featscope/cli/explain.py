"""`featscope explain`: which features made a box."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import typer

from featscope.cli import checks, completion, models, options
from featscope.cli.options import own
from featscope.errors import BadOptionError, FeatscopeError
from featscope.explaining.methods import DEFAULT, help_text
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.explaining.faithfulness import Faithfulness
    from featscope.records import MeasuredPlace, Sample
    from featscope.store.places import Key


def run(
    source: str = options.argument(
        "RUN|MODEL", "A run, or a model as `featscope capture` takes it. Leave it out with --predict.", ""
    ),
    checkpoint: str = models.checkpoint,
    output: Optional[Path] = options.output(shown="RUN/explain, or featscope-explain"),
    layers: Optional[List[str]] = options.layer(
        help="Explain at this layer. Repeat it for more: they are the levels of one map.", shown="the detector's own"
    ),
    images: Optional[List[Path]] = options.image(
        help="With MODEL: an image, or a folder of images. Repeat it for more.", shown="the run's own"
    ),
    sample: str = options.sample(default=""),
    show: bool = own(
        "--list",
        panel=options.WHAT,
        help="Only list a run's detections, and which raw output gave each.",
        default=False,
    ),
    top: int = own(
        "--top",
        panel=options.WHAT,
        help="Explain so many detections of an image, best first.",
        default=5,
        metavar="N",
        min=1,
    ),
    label: str = own(
        "--class", panel=options.WHAT, help="Only detections of this class.", default="", metavar="NAME", shown="all"
    ),
    box: Optional[List[int]] = own(
        "--box",
        panel=options.WHAT,
        help="Only this detection: its number in --list. Repeat it for more.",
        metavar="N",
        shown="the best",
        min=0,
    ),
    side: str = own(
        "--side",
        panel=options.WHAT,
        help="Explain a number of the box, not its score: left, top, right, bottom; x, y, width, height, angle.",
        default="",
        metavar="NAME",
        shown="the score",
        check=checks.side,
        complete=completion.sides,
    ),
    target: str = own(
        "--target",
        panel=options.WHAT,
        help="Explain what this function makes of the model's output for an image: one number.",
        default="",
        metavar="MODULE:FUNCTION",
        shown="the score",
    ),
    predict: str = own(
        "--predict",
        panel=options.MODEL,
        help="In place of MODEL: a function from pictures (N, H, W, 3) to (boxes, scores, labels) of each; for d-rise.",
        default="",
        metavar="MODULE:FUNCTION",
        shown="none",
    ),
    input_size: str = options.input_size(),
    preprocess: str = options.preprocess(),
    inputs: Optional[List[str]] = options.inputs(),
    score_threshold: Optional[float] = options.score_threshold(),
    cfg_options: Optional[List[str]] = options.cfg_options(),
    trust_checkpoint: bool = options.trust_checkpoint(),
    masks: int = own(
        "--masks", panel=options.HOW_MUCH, help="Random masks of d-rise.", default=1000, metavar="N", min=1
    ),
    batch_size: int = options.batch_size(
        default=4, help="Images of one forward of d-rise, score-cam and ablation-cam."
    ),
    method: Optional[List[str]] = own(
        "--method",
        "-m",
        panel=options.DRAWING,
        help=help_text(),
        metavar="NAME",
        shown=DEFAULT,
        check=checks.method,
        complete=completion.methods,
    ),
    panel: Optional[bool] = options.panel(
        help="Draw all methods of a box side by side, in one more picture.", default=None, shown="with several methods"
    ),
    faithfulness: bool = own(
        "--faithfulness",
        panel=options.DRAWING,
        help="Measure the maps: pointing game, energy in the box, deletion, insertion.",
        default=False,
    ),
) -> None:
    """Draw what made single detections, or list where they come from.

    A run's model is opened as it was for the capture, and must find the recorded boxes again.

    Examples:
      featscope explain runs/s2anet --list
      featscope explain runs/s2anet --sample P0706 --top 3
      featscope explain runs/s2anet --box 12 -l neck -m odam -m layercam
      featscope explain s2anet.py s2anet.pth -i harbour.png -o why --class ship
      featscope explain demo -i harbour.png -o why --side angle
      featscope explain torchvision:fasterrcnn_resnet50_fpn weights.pth \\
        -i photo.jpg -o why -m d-rise
      featscope explain s2anet.py s2anet.pth -i photos/ -o why \\
        -m all --faithfulness

    A detector of your own:
      featscope explain my.package:make_model weights.pth -i photo.jpg \\
        -l neck --target my.package:score
      featscope explain --predict my.package:detect -i photo.jpg -m d-rise
    """
    run_folder = Path(source) if source and Path(source).is_dir() else None
    if show:
        _list(source, run_folder, sample)
        return
    from featscope.cli.console import finish, progress
    from featscope.explaining.explainer import Explainer
    from featscope.explaining.methods import WITHOUT_LAYER
    from featscope.explaining.targets import Choice
    from featscope.store.places import levels_of

    opening: Dict[str, Any] = {
        "input_size": input_size,
        "preprocess": preprocess,
        "threshold": score_threshold,
        "trusted": trust_checkpoint,
        "config": cfg_options,
        "inputs": inputs,
    }
    function = models.function_named(target, "--target") if target else None
    work = _opened(source, checkpoint, folder=run_folder, glob=sample, images=images, predict=predict, options=opening)
    output = output or (run_folder / "explain" if run_folder is not None else Path("featscope-explain"))
    detector = _aimed(work.detector, function, bool(predict))
    layer = ",".join(layers or ()) or detector.layer_to_explain
    explainer = Explainer(
        detector,
        layer,
        methods=method or ([WITHOUT_LAYER] if predict else ()),
        choice=Choice(None if box else top, label, box or ()),
        side=side,
        places=levels_of(work.places, layer),
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
            if panel is not False:
                from featscope.explaining.drawing import write_panels

                write_panels(found, output, least=1 if panel else 2)
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
    what = counted(boxes, "target") if target else counted(boxes, "box", "boxes")
    text = f"{counted(maps, 'map')} of {what} in {counted(len(work.images), 'image')}, in {output}"
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
    from featscope.adapters.feeding import named_images
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
            raise BadOptionError(f"{source} and --predict both name a detector; leave one of them out")
        from featscope.explaining.own import OwnPredict

        return _Work(OwnPredict(models.function_named(predict, "--predict")), files, {})
    return _Work(models.open_named(source, checkpoint, **options), files, {})


def _aimed(detector: Any, function: Any, predicts: bool) -> Any:
    """The detector, or what a function makes of its output."""
    if function is not None:
        from featscope.explaining.own import OwnTarget

        return OwnTarget(detector, function)
    if not predicts and not detector.traceable:
        from featscope.adapters.detector import no_candidates

        raise no_candidates(detector)
    return detector


def _tell_faithfulness(results: List[Faithfulness], output: Path) -> None:
    """Print the table; write it and its curves."""
    from featscope.cli.console import new_table, show
    from featscope.explaining.drawing import write_faithfulness
    from featscope.explaining.faithfulness import table

    rows = table(results)
    numbers = ("boxes", "pointing", "energy in box", "deletion", "insertion")
    shown = new_table("method", "size", *numbers, right=numbers)
    for method, size, count, *values in rows:
        shown.add_row(method, size, str(count), *(f"{value:.3f}" for value in values))
    show(shown)
    typer.echo("pointing, energy, insertion: more is better; deletion: less is better")
    write_faithfulness(results, rows, output)


def _list(source: str, folder: Optional[Path], glob: str) -> None:
    """Print a run's detections and their sources."""
    from featscope.cli.console import closing, new_table, show
    from featscope.store.detections import STATES, list_detections, samples_named
    from featscope.store.reader import open_run

    how = "capture one first: featscope capture MODEL -i photo.jpg -o RUN"
    if folder is None:
        raise BadOptionError(f"{source} is not a run; {how}" if source else f"name a run; {how}")
    opened = open_run(folder)
    rows = list_detections(opened, glob)
    headings = ("sample", "--box", "class", "score", "box", "source")
    table = new_table(*headings, right=["--box", "score"], folded=["sample", "box", "source"])
    for row in rows:
        score = "" if row.score is None else f"{row.score:.3f}"
        box = " ".join(f"{value:.1f}" for value in row.box[:4]) + (f" {row.box[4]:.2f}" if len(row.box) == 5 else "")
        cells = (row.sample, row.number, row.label, score, box, row.source)
        table.add_row(*cells)
    show(table)
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    found = f"{counted(len(rows), 'detection')} of {counted(len(samples_named(opened, glob)), 'image')}"
    if not rows:
        closing(f"{found}: there is none to explain")
        return
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    closing(f"{found}: {states}; explain one: featscope explain {folder} --box 0")
