"""`featscope explain`: draw which features led to a detection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from featscope.cli import checks, completion, models, options
from featscope.cli.explain_inputs import Work, aimed, open_recorded, open_typed
from featscope.cli.options import own
from featscope.errors import BadOptionError, FeatscopeError
from featscope.explaining.methods import DEFAULT, help_text
from featscope.words import counted

if TYPE_CHECKING:
    from featscope.explaining.explainer import Explainer
    from featscope.explaining.explanation import Explanation
    from featscope.explaining.faithfulness import Faithfulness


def run(
    source: str = options.argument(
        "RUN|MODEL", "A run, or a model as `featscope capture` takes it. Leave it out with --predict.", ""
    ),
    checkpoint: str = models.checkpoint,
    output: Optional[Path] = options.output(shown="RUN/explain, or featscope-explain"),
    layers: Optional[List[str]] = options.layer(
        help="Explain at this layer. If repeated, the layers are the levels of one map.", shown="the detector's own"
    ),
    images: Optional[List[Path]] = options.image(
        help="With MODEL: an image, or a folder of images. Repeat it for more.", shown="the run's own"
    ),
    sample: str = options.sample(default=""),
    show: bool = own(
        "--list",
        panel=options.WHAT,
        help="Only list a run's detections and the raw output that each came from.",
        default=False,
    ),
    top: int = own(
        "--top",
        panel=options.WHAT,
        help="Explain at most N detections of each image, best first.",
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
        help="Explain a number of the box in place of its score: left, top, right, bottom; x, y, width, height, angle.",
        default="",
        metavar="NAME",
        shown="the score",
        check=checks.side,
        complete=completion.sides,
    ),
    target: str = own(
        "--target",
        panel=options.WHAT,
        help="Explain the number that this function computes from the model's output for an image.",
        default="",
        metavar="MODULE:FUNCTION",
        shown="the score",
    ),
    predict: str = own(
        "--predict",
        panel=options.MODEL,
        help="Explain this function in place of MODEL, by d-rise. It receives pictures (N, H, W, 3) and returns "
        "(boxes, scores, labels) for each.",
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
        "--masks", panel=options.HOW_MUCH, help="Number of random masks of d-rise.", default=1000, metavar="N", min=1
    ),
    batch_size: int = options.batch_size(
        default=4, help="Images in one forward, for d-rise, score-cam, ablation-cam and --faithfulness."
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
        help="Also draw all methods of a box side by side, in one picture.", default=None, shown="with several methods"
    ),
    faithfulness: bool = own(
        "--faithfulness",
        panel=options.DRAWING,
        help="Measure how faithful the maps are: pointing game, energy in the box, deletion, insertion.",
        default=False,
    ),
) -> None:
    """Draw which features led to a detection, or list which raw output it came from.

    A run's model is opened as it was for the capture. It must find the recorded boxes again.

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
    from featscope.cli.console import finish
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
    if run_folder is not None:
        work, folder = open_recorded(run_folder, sample, checkpoint, opening), run_folder / "explain"
    else:
        work, folder = open_typed(source, checkpoint, images, predict, opening), Path("featscope-explain")
    output = output or folder
    detector = aimed(work.detector, function, bool(predict))
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
    explained = _explain_images(work, explainer, output, panel, batch_size if faithfulness else 0)
    if faithfulness:
        _tell_faithfulness(explained.results, output)
    what = counted(explained.targets, "target") if target else counted(explained.targets, "box", "boxes")
    text = f"{counted(explained.maps, 'map')} of {what} in {counted(len(work.images), 'image')}, in {output}"
    finish(text, [*explained.errors, *explainer.errors], explainer.remarks)


@dataclass
class _Explained:
    """What was explained so far, over all images."""

    maps: int = 0

    targets: int = 0
    """Boxes, or numbers of a user's function."""

    errors: List[str] = field(default_factory=list)
    """An error for each image that could not be explained."""

    results: List[Faithfulness] = field(default_factory=list)


def _explain_images(
    work: Work, explainer: Explainer, output: Path, panel: Optional[bool], batch_size: int
) -> _Explained:
    """Explain every image and write its pictures. An image that fails is an error, and the others go on.

    panel: as in `_write`. batch_size: images in one forward of the faithfulness measurement; 0 to not measure.
    """
    from featscope.cli.console import progress

    explained = _Explained()
    with progress("images", len(work.images)) as done:
        for sample, path in work.images:
            try:
                item = work.detector.prepare(path, sample.id)
                choice = explainer.choice._replace(recorded=sample if work.recorded else None)
                found = explainer.explain(item, choice)
            except FeatscopeError as error:
                explained.errors.append(str(error))
                continue
            finally:
                done()
            _write(found, output, panel)
            if any(explanation.target.number < 0 for explanation in found):
                score = f"{found[0].target.score:.3g}"
                explainer.remarks.append(
                    f"{sample.id} has no such detection, so its best raw score, {score}, was explained"
                )
            explained.maps += len(found)
            explained.targets += len({explanation.target.number for explanation in found})
            if batch_size:
                from featscope.explaining.faithfulness import measure

                explained.results += measure(explainer.detector, item, found, batch_size)
    return explained


def _write(found: List[Explanation], output: Path, panel: Optional[bool]) -> None:
    """Write the pictures of one image's explanations.

    panel: whether to also draw the methods of each box side by side; None to do so for several methods.
    """
    for explanation in found:
        explanation.save(output)
    if panel is not False:
        from featscope.explaining.drawing import write_panels

        write_panels(found, output, least=1 if panel else 2)


def _tell_faithfulness(results: List[Faithfulness], output: Path) -> None:
    """Print the table of means, and write the table and its curves."""
    from featscope.cli.console import new_table, show
    from featscope.explaining.drawing import write_faithfulness
    from featscope.explaining.faithfulness import table

    rows = table(results)
    numbers = ("boxes", "pointing", "energy in box", "deletion", "insertion")
    shown = new_table("method", "size", *numbers, right=numbers)
    for method, size, count, *values in rows:
        shown.add_row(method, size, str(count), *(f"{value:.3f}" for value in values))
    show(shown)
    typer.echo("pointing, energy, insertion: higher is better; deletion: lower is better")
    write_faithfulness(results, rows, output)


def _list(source: str, folder: Optional[Path], glob: str) -> None:
    """Print the detections of a run with their sources."""
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
        closing(f"{found}: there is nothing to explain")
        return
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    closing(f"{found}: {states}; explain one: featscope explain {folder} --box 0")
