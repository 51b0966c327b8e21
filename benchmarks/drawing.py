"""Drawing: heat maps, overlays and grids against matplotlib, OpenCV and mmengine."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator

import cv2
import matplotlib as mpl
import numpy as np
import torch
from mmengine.visualization import Visualizer
from PIL import Image

from benchmarks.measure import Row, alternate, faster
from featscope.render.caption import Caption
from featscope.render.heat import STYLES, HeatStyle, draw_heat
from featscope.render.mosaic import draw_mosaic

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZE = (1024, 992)


def activations(channels: int, random: np.random.Generator) -> np.ndarray:
    """A map like a detector's: smooth blobs, different in each channel, some noise, a ReLU."""
    blobs = random.standard_normal((channels, 16, 16)).astype(np.float32)
    smooth = [np.asarray(Image.fromarray(b).resize((124, 128), Image.Resampling.BICUBIC)) for b in blobs]
    return np.maximum(np.stack(smooth) + 0.2 * random.standard_normal((channels, 128, 124)), 0).astype(np.float32)


@contextlib.contextmanager
def one_busy_core() -> Iterator[None]:
    """Another process that never rests."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


def _photo() -> np.ndarray:
    from featscope.demo.scenes import draw_scene

    return np.asarray(Image.fromarray(draw_scene(3).image).resize(SIZE[::-1]))


def rows() -> Iterator[Row]:
    """The rows about drawing."""
    random = np.random.default_rng(0)
    feature_map, small, photo = activations(256, random), activations(15, random), _photo()
    tensor = torch.from_numpy(feature_map)
    folder = Path(tempfile.mkdtemp())
    mine, theirs = folder / "mine.png", folder / "theirs.png"
    viridis, jet = HeatStyle(colormap="viridis"), HeatStyle(colormap="jet")

    def heat(style: HeatStyle) -> None:
        mine.write_bytes(draw_heat(feature_map, style, size=SIZE).png)

    def pyplot_heat() -> None:
        enlarged = cv2.resize(feature_map.mean(0), SIZE[::-1])
        plt.imsave(theirs, enlarged, cmap="viridis")

    took = alternate({"ours": lambda: heat(viridis), "peer": pyplot_heat})
    yield faster("heat map (256,128,124) to 1024 x 992, against `pyplot.imsave`", took["ours"], took["peer"], 40)
    idle = took["ours"]
    with one_busy_core():
        took = alternate({"ours": lambda: heat(viridis), "peer": pyplot_heat})
    yield faster("the same while one core is busy", took["ours"], took["peer"], 40, f", {idle * 1e3:.2f} ms without")

    caption = Caption("neck  ·  level 0  ·  stride 8  ·  P0706", "contrast: distance of each cell from the mean cell")

    def default_look(photo: np.ndarray | None = None) -> None:
        mine.write_bytes(draw_heat(feature_map, STYLES["featscope"], SIZE, photo, caption=caption).png)

    took = alternate({"ours": default_look, "peer": pyplot_heat})
    yield faster("the default look (contrast, title, scale), against `pyplot.imsave`", took["ours"], took["peer"], 15)

    def opencv_heat() -> None:
        mean = feature_map.mean(0)
        low, high = mean.min(), mean.max()
        grey = ((cv2.resize(mean, SIZE[::-1]) - low) * (255 / (high - low))).astype(np.uint8)
        coloured = cv2.applyColorMap(grey, cv2.COLORMAP_JET)
        theirs.write_bytes(cv2.imencode(".png", coloured, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())

    took = alternate({"ours": lambda: heat(jet), "peer": opencv_heat})
    sizes = f" ({mine.stat().st_size >> 10} KB against {theirs.stat().st_size >> 10} KB)"
    row = faster("the same, against OpenCV at its fastest compression", took["ours"], took["peer"], 8, sizes)
    yield row._replace(holds=row.holds and mine.stat().st_size < theirs.stat().st_size, floor="8 x, smaller file")

    def mmengine_overlay() -> None:
        drawn = Visualizer.draw_featmap(tensor, photo, channel_reduction="squeeze_mean")
        theirs.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())

    took = alternate(
        {"ours": lambda: mine.write_bytes(draw_heat(feature_map, jet, image=photo).png), "peer": mmengine_overlay}
    )
    yield faster("overlay on a 1024 x 992 image, against mmengine `draw_featmap`", took["ours"], took["peer"], 20)

    try:
        from pytorch_grad_cam.utils.image import show_cam_on_image
    except ImportError:
        pass
    else:

        def cam_overlay() -> None:
            mean = feature_map.mean(0)
            low, high = mean.min(), mean.max()
            mask = cv2.resize((mean - low) / (high - low), SIZE[::-1])
            drawn = show_cam_on_image(np.float32(photo) / 255, mask, use_rgb=True)
            theirs.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())

        took = alternate(
            {"ours": lambda: mine.write_bytes(draw_heat(feature_map, jet, image=photo).png), "peer": cam_overlay}
        )
        yield faster("the same, against grad-cam's `show_cam_on_image`", took["ours"], took["peer"], 4)
        took = alternate({"ours": lambda: default_look(photo), "peer": cam_overlay})
        yield faster("the default look over the image, against the same", took["ours"], took["peer"], 1.5)
        idle = took["ours"]
        with one_busy_core():
            took = alternate({"ours": lambda: default_look(photo), "peer": cam_overlay})
        note = f", {idle * 1e3:.2f} ms without"
        yield faster("the same while one core is busy", took["ours"], took["peer"], 1.5, note)

    def mmengine_grid() -> None:
        drawn = Visualizer.draw_featmap(tensor, channel_reduction=None, topk=20, arrangement=(4, 5))
        theirs.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())

    def grid() -> None:
        mine.write_bytes(draw_mosaic(feature_map, "sum:20", "jet", columns=5, numbers=True).png)

    took = alternate({"ours": grid, "peer": mmengine_grid})
    yield faster("grid of the top 20 of 256 channels, against mmengine's", took["ours"], took["peer"], 25)

    def pyplot_figure() -> None:
        figure = plt.figure()
        plt.imshow(small.mean(0))
        plt.savefig(theirs)
        plt.close(figure)

    took = alternate({"ours": lambda: mine.write_bytes(draw_heat(small, viridis).png), "peer": pyplot_figure})
    yield faster(
        "one small map (15,128,124) at native size, against a saved pyplot figure", took["ours"], took["peer"], 200
    )
