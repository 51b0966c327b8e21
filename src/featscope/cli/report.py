"""`featscope report`: the viewer as a file that opens without a server."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

from featscope.cli import checks, options
from featscope.cli.options import own
from featscope.words import counted


def run(
    folders: List[Path] = options.runs_or_folder,
    output: Path = options.output(
        default=Path("report.html"), help="The file NAME.html that is written, or the folder NAME if it is large."
    ),
    layers: Optional[List[str]] = options.layer(),
    sample: Optional[str] = options.sample(),
    max_samples: int = options.max_samples(
        default=8, shown="", help="Include at most this many samples of each run; 0 for all."
    ),
    reduce: Optional[List[str]] = options.reduce(
        default=None,
        panel=options.DRAWING,
        help="Also include these reductions: contrast, mean, absmean, max, l2, std. Repeat it for more.",
        shown="auto only",
        check=checks.page_reduction,
    ),
    channels: bool = own(
        "--tiles/--no-tiles",
        panel=options.HOW_MUCH,
        help="Include all channels of each map, as small tiles.",
        default=True,
    ),
) -> None:
    """Write the page of `featscope view` to one file: it opens by double click, without a server or a network.

    It includes some samples and layers of the run, with their images. Above 50 MB it becomes a folder.

    Examples:
      featscope report runs/s2anet
      featscope report runs/s2anet -o neck.html -l neck --sample 'P07*'
      featscope report runs/baseline runs/ours -o compare.html
    """
    from featscope.cli.console import finish, progress, remark
    from featscope.store.files import size_text
    from featscope.viewer.answers import Viewer
    from featscope.viewer.report import Frozen, write_report

    viewer = Viewer(folders, layers or (), sample, most=max_samples)
    frozen = Frozen(viewer, reduce or (), channels)
    samples = frozen.samples
    remark(f"about {size_text(frozen.estimate())}: {counted(len(samples), 'sample')}")
    with progress("samples", len(samples)) as done:
        report = write_report(frozen, output, done)
    total = sum(shown.catalogue.total for shown in viewer.runs)
    remarks = [f"{len(samples)} of {total} samples; choose them with --sample, or type --max-samples 0 for all"]
    text = f"{counted(report.maps, 'map')} of {counted(report.samples, 'sample')}, {size_text(report.bytes)}, in {report.page}"
    finish(text, list(dict.fromkeys(frozen.errors)), remarks if total > len(samples) else [])
