"""What the tables of tried models share: a model is listed, captured, traced and explained, and makes one row."""

import contextlib
import gc
import io
import re
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

from featscope.adapters.feeding import capture_images
from featscope.demo.scenes import draw_scene
from featscope.errors import FeatscopeError
from featscope.explaining.explainer import explain_item
from featscope.explaining.targets import Choice
from featscope.store.reader import open_run

COLUMNS = (
    *("layers", "folders", "maps", "no map", "place", "geometry"),
    *("traced detections", "explained", "seconds"),
)
SECONDS = 300


@contextlib.contextmanager
def scene():
    """The file of an image that is there for a block, in which nothing takes longer than it may."""
    from PIL import Image

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError(f"longer than {SECONDS} s")))
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "scene.png"
        Image.fromarray(draw_scene(3).image).save(image)
        yield image


def head_of_table(title, first):
    """Print a table's heading, and its columns behind the first."""
    print(f"\n## {title}\n\n| {' | '.join((first, *COLUMNS))} |\n|{'---|' * (len(COLUMNS) + 1)}", flush=True)


def tried(name, make, image, sizes, again):
    """Print the row of a model, and say whether it runs.

    make: the detector for a size of images. sizes: tried one after the other. again: whether the next one is tried
    after such an error.
    """
    start = time.perf_counter()
    cells, runs = "", False
    for size in sizes:
        signal.alarm(SECONDS)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                cells, runs = " | ".join(map(str, cells_of(make(size), image))), True
            break
        except Exception as error:  # noqa: BLE001 (the table names it)
            cells = f"{reason(error)} | | | | | | | "
            if not again(error):
                break
        finally:
            signal.alarm(0)
    print(f"| `{name}` | {cells} | {time.perf_counter() - start:.1f} |", flush=True)
    gc.collect()
    return runs


def cells_of(detector, image):
    """A row: layers, maps, what is known of them, detections with a source, explained boxes."""
    with torch.no_grad():
        found = detector.report(detector.prepare(image, "noise"))
    with tempfile.TemporaryDirectory() as folder:
        made = capture_images(detector, [image], Path(folder) / "run", None)
        opened = open_run(Path(folder) / "run")
        folders, known = len(opened.folders()), what_is_known(opened)
        (sample,) = opened.samples.values()
    remark = in_one_line(made.remarks[0])[:150] if made.remarks else ""
    listed = (len(found.layers), folders, *known)
    if sample.predictions is None:
        return *listed, remark or "finds no boxes", ""
    if remark or not detector.traceable:
        return *listed, remark or "no boxes of a known kind", ""
    boxes = sample.predictions.boxes
    ties, lost = sum(len(s) > 1 for s in sample.sources), sum(not s for s in sample.sources)
    traced = f"{len(boxes) - lost} of {len(boxes)}" + (f", {ties} ties" if ties else "")
    try:
        heats = explain_item(
            detector, detector.prepare(image, "noise"), detector.layer_to_explain, ["hirescam"], Choice(top=2)
        )
        explained = str(len(heats))
    except FeatscopeError as error:
        explained = reason(error)
    return *listed, traced, explained


def what_is_known(run):
    """Four cells: the maps, the arrays that are none, how the maps' places are known, whether the geometry is true."""
    maps = [file for file in run.maps if file.is_map]
    places = Counter(file.place().known for file in maps)
    (sample,) = run.samples.values()
    geometry = ""
    if sample.agreement is not None:
        by = sample.agreement.correlation
        geometry = sample.agreement.verdict + (f" {by:.2f}" if by is not None else "")
    counted = ", ".join(how if len(places) == 1 else f"{n} {how}" for how, n in places.most_common())
    return len(maps), len(run.maps) - len(maps), counted, geometry


def reason(error):
    """Why a model could not be tried, in one line."""
    return f"{type(error).__name__}: {in_one_line(str(error) or type(error).__name__)[:150]}"


def in_one_line(text):
    """Words for a cell of a table; paths of this machine are nobody's business."""
    text = re.sub(r", the current sys.path is.*", "", " ".join(text.split()))
    return re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", text).replace("|", "/")
