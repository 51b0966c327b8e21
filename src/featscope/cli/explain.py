"""`featscope explain`: which features made a box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence

import typer

from featscope.cli import models
from featscope.errors import BadOptionError, FeatscopeError, unknown_name
from featscope.records import Picture

if TYPE_CHECKING:
    from featscope.explain.explanation import Explanation
    from featscope.records import MeasuredPlace
    from featscope.store.places import Key

_EVERY = "all"


def run(
    source: str = typer.Argument(..., metavar="RUN|MODEL", help="A run, or a model as `featscope capture` takes it."),
    checkpoint: str = typer.Argument("", metavar="[CHECKPOINT]", help=models.CHECKPOINT),
    images: Optional[List[Path]] = typer.Option(
        None, "--images", "-i", help="An image or a folder of images, with MODEL."
    ),
    output: Optional[Path] = typer.Option(
        None, "-o", "--output", metavar="DIR", help="Folder for pictures; RUN/explain."
    ),
    show: bool = typer.Option(False, "--list", help="Only list a run's detections, and which raw output gave each."),
    layer: str = typer.Option("", "--layer", "-l", help="Explain at this layer; several, as levels of one, by comma."),
    method: Optional[List[str]] = typer.Option(
        None,
        "--method",
        "-m",
        help="layercam (the default), grad-cam, grad-cam++, hirescam, xgrad-cam, odam, eigen-cam, "
        "ablation-cam, score-cam, d-rise, or all that work by gradient.",
    ),
    top: int = typer.Option(5, min=1, help="Explain so many detections of an image, best first."),
    label: str = typer.Option("", "--class", metavar="NAME", help="Only detections of this class."),
    box: Optional[List[int]] = typer.Option(None, "--box", min=0, help="Only this detection, by its number in --list."),
    side: str = typer.Option(
        "", help="Explain this number of the box: left, top, right, bottom; x, y, width, height, angle."
    ),
    sample: str = typer.Option("", "--sample", metavar="GLOB", help="Only images of a run whose id matches."),
    masks: int = typer.Option(1000, min=1, help="Random masks of d-rise."),
    batch_size: int = typer.Option(4, min=1, help="Images of one forward of d-rise, score-cam, ablation-cam."),
    faithfulness: bool = typer.Option(
        False, "--faithfulness", help="Measure the maps: pointing game, energy in the box, deletion, insertion."
    ),
    input_size: str = models.input_size,
    inputs: Optional[List[str]] = models.inputs,
    score_threshold: Optional[float] = models.score_threshold,
    cfg_options: Optional[List[str]] = models.cfg_options,
    trust_checkpoint: bool = models.trust_checkpoint,
) -> None:
    """Draw what made single detections, or list where they come from.

    \b
    Examples:
      featscope explain runs/s2anet --list
      featscope explain runs/s2anet --sample P0706 --top 3
      featscope explain runs/s2anet --box 12 -l bbox_head_refine.0.or_conv -m odam -m layercam
      featscope explain s2anet.py s2anet.pth -i harbour.png -o why --class ship
      featscope explain demo -i harbour.png -o why --side angle
      featscope explain torchvision:fasterrcnn_resnet50_fpn weights.pth -i photo.jpg -o why -m d-rise
      featscope explain s2anet.py s2anet.pth -i photos/ -o why -m all --faithfulness
    """
    run_folder = Path(source) if (Path(source) / "run.json").is_file() else None
    if show:
        _list(source, run_folder, sample)
        return
    from featscope.cli.console import finish, progress
    from featscope.explain.cam import METHODS
    from featscope.explain.masking import MASKING
    from featscope.explain.targets import Choice
    from featscope.store.places import levels_of

    methods = [m for name in method or ["layercam"] for m in (METHODS if name == _EVERY else [name])]
    for name in methods:
        if name not in METHODS and name not in MASKING:
            raise unknown_name("method", name, [*METHODS, *MASKING, _EVERY], "featscope explain --help")
    if side and any(name in MASKING or name == "eigen-cam" for name in methods):
        raise BadOptionError(
            f"--side needs gradients of the box: leave out {', '.join(m for m in methods if m in MASKING)}"
        )
    measured: Mapping[Key, MeasuredPlace] = {}
    if run_folder is not None:
        from featscope.store.reader import open_run

        opened = open_run(run_folder)
        source, checkpoint, named = models.of_run(
            opened, checkpoint, sample, "name the model: featscope explain MODEL -i photo.jpg"
        )
        measured = opened.places
        output = output or run_folder / "explain"
    else:
        from featscope.adapters.images import named_images
        from featscope.adapters.opening import split_name

        split_name(source)
        named = named_images(models.images_of(images))
        output = output or Path("featscope-explain")
    if not named:
        raise BadOptionError(f"no image to explain: name one, featscope explain {source} -i photo.jpg")
    detector = models.open_named(
        source,
        checkpoint,
        input_size,
        threshold=score_threshold,
        trusted=trust_checkpoint,
        config=cfg_options,
        inputs=inputs,
    )
    if not detector.traceable:
        from featscope.adapters.detector import no_candidates

        raise no_candidates(detector)
    layer = layer or detector.layer_to_explain
    work = _Explaining(
        detector,
        layer,
        methods,
        Choice(None if box else top, label, box or ()),
        side,
        masks,
        batch_size,
        faithfulness,
        output,
        levels_of(measured, layer),
    )
    with progress("images", len(named)) as done:
        for name, path in named:
            try:
                work.explain(name, path)
            except FeatscopeError as error:
                work.errors.append(str(error))
            done()
    if faithfulness:
        work.tell_faithfulness()
    finish(f"{work.maps} maps of {work.boxes} boxes in {len(named)} images, in {output}", work.errors, work.remarks)


class _Explaining:
    """Explains image after image, and counts."""

    def __init__(
        self,
        detector: Any,
        layer: str,
        methods: Sequence[str],
        choice: Any,
        side: str,
        masks: int,
        batch_size: int,
        faithfulness: bool,
        output: Path,
        places: Mapping[int, MeasuredPlace],
    ) -> None:
        self.detector, self.layer, self.methods, self.choice, self.side = detector, layer, methods, choice, side
        self.masks, self.batch_size, self.faithfulness, self.output = masks, batch_size, faithfulness, output
        self.places = places
        self.maps = self.boxes = 0
        self.errors: List[str] = []
        self.remarks: List[str] = []
        self.results: List[Any] = []
        from featscope.capturing.remarks import Remarks
        from featscope.capturing.verifying import Verifier

        self._verifier = Verifier(Remarks())

    def explain(self, name: str, path: Path) -> None:
        """Explain one image by every method, and draw."""
        from featscope.capturing.verifying import inside
        from featscope.explain.cam import METHODS
        from featscope.explain.drawing import draw_explanation
        from featscope.explain.explanation import verified
        from featscope.explain.faithfulness import measure
        from featscope.explain.gradients import explain_by_gradient
        from featscope.explain.masking import explain_by_masking
        from featscope.render.images import original_image

        item = self.detector.prepare(path, name)
        by_gradient = [method for method in self.methods if method in METHODS]
        found = []
        if by_gradient:
            found += explain_by_gradient(
                self.detector, item, self.layer, by_gradient, self.choice, self.side, self.errors.append
            )
        for method in self.methods:
            if method not in METHODS:
                layer = "" if method == "d-rise" else self.layer
                found += explain_by_masking(
                    self.detector,
                    item,
                    layer,
                    method,
                    self.choice,
                    self.masks,
                    self.batch_size,
                    on_error=self.errors.append,
                )

        def seen() -> Optional[Picture]:
            return None if item.picture is None else inside(item.picture, placed[0][0].sample.geometry)

        placed = [verified(self._placed(explanation), item.picture, self._verifier) for explanation in found]
        found = [explanation for explanation, _ in placed]
        for explanation, ground in placed:
            if ground is None:
                ground = original_image(explanation.sample, seen, self.errors, self.remarks)
            draw_explanation(explanation, ground, self.output, self.detector.info.classes)
        if any(explanation.target.number < 0 for explanation in found):
            score = found[0].target.score
            self.remarks.append(f"{name} has no such detection: its best raw score, {score:.3g}, was explained")
        self.maps += len(found)
        self.boxes += len({explanation.target.number for explanation in found})
        if self.faithfulness:
            self.results += measure(self.detector, item, found, self.batch_size)

    def _placed(self, explanation: Explanation) -> Explanation:
        """The explanation with the place that was measured of its layer, where one was."""
        measured = self.places.get(explanation.level) if explanation.layer else None
        place = measured.at(explanation.stride) if measured is not None else None
        return explanation if place is None else replace(explanation, place=place)

    def tell_faithfulness(self) -> None:
        """Print the table; write it and its curves."""
        from rich.console import Console

        from featscope.cli.console import Table
        from featscope.explain.drawing import write_faithfulness
        from featscope.explain.faithfulness import table

        rows = table(self.results)
        shown = Table(box=None, pad_edge=False, header_style="bold")
        headings = ("method", "size", "boxes", "pointing", "energy in box", "deletion", "insertion")
        for heading in headings:
            shown.add_column(heading, justify="left" if heading in headings[:2] else "right", no_wrap=True)
        for method, size, count, *values in rows:
            shown.add_row(method, size, str(count), *(f"{value:.3f}" for value in values))
        Console(width=120 if not Console().is_terminal else None).print(shown)
        typer.echo("pointing, energy, insertion: more is better; deletion: less is better")
        write_faithfulness(self.results, rows, self.output)


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
