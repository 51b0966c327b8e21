"""How mmengine, grad-cam and torch-cam draw a feature map: their own functions, on the same array.

Each peer reduces a map (C, H, W) as its library usually does, and says how strong the colour of each cell is. The
overlays come from the libraries' own functions; the strength is what those functions hand to the colour map.
"""

from __future__ import annotations

import warnings
from typing import Callable, Dict, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.visualization import Visualizer
from numpy.typing import NDArray
from PIL import Image
from pytorch_grad_cam.utils.image import scale_cam_image, show_cam_on_image
from torchcam.utils import overlay_mask

Floats = NDArray[np.floating]
Picture = NDArray[np.uint8]


class Peer(NamedTuple):
    """A library's way. words: what it does. heat: of each cell, (C, H, W) -> (H, W) in [0, 1], as it is coloured.

    overlay: the map over an image (H, W, 3), by the library itself.
    """

    words: str
    heat: Callable[[Floats], Floats]
    overlay: Callable[[Floats, Picture], Picture]


def _jet_indices() -> Dict[bytes, int]:
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]
    return {bytes(colour): index for index, colour in enumerate(ramp)}


_JET = _jet_indices()


def _mmengine(reduction: str) -> Peer:
    def heat(x: Floats) -> Floats:
        # What it draws is read off its picture: the index of each colour.
        drawn = Visualizer.draw_featmap(torch.from_numpy(np.asarray(x, np.float32)), channel_reduction=reduction)
        indices = [_JET[bytes(colour)] for colour in drawn.reshape(-1, 3)]
        return np.array(indices, float).reshape(drawn.shape[:2]) / 255

    def overlay(x: Floats, image: Picture) -> Picture:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the map is smaller than the image
            tensor = torch.from_numpy(np.asarray(x, np.float32))
            return np.asarray(Visualizer.draw_featmap(tensor, image, channel_reduction=reduction))

    return Peer(f"mmengine `draw_featmap`, `{reduction}`", heat, overlay)


def _first_component(x: Floats) -> Floats:
    """grad-cam's `get_2d_projection`, without the whole of U: of 64 x 256 x 248 that takes 32 GB."""
    cells = np.asarray(x, np.float32).reshape(len(x), -1).T
    cells = cells - cells.mean(0)
    direction = np.linalg.svd(cells, full_matrices=False)[2][0]
    return (cells @ direction).reshape(x.shape[1:])


def _grad_cam(words: str, reduce: Callable[[Floats], Floats]) -> Peer:
    def heat(x: Floats) -> Floats:
        return np.asarray(scale_cam_image(np.maximum(reduce(x), 0)[None])[0])

    def overlay(x: Floats, image: Picture) -> Picture:
        mask = scale_cam_image(np.maximum(reduce(x), 0)[None], image.shape[1::-1])[0]
        return np.asarray(show_cam_on_image(np.float32(image) / 255, mask, use_rgb=True))

    return Peer(words, heat, overlay)


def _torch_cam() -> Peer:
    def normalised(x: Floats) -> Floats:
        cam = np.maximum(np.asarray(x, np.float32).mean(0), 0)
        cam = cam - cam.min()
        return np.asarray(cam / (cam.max() + 1e-8))

    def overlay(x: Floats, image: Picture) -> Picture:
        return np.asarray(overlay_mask(Image.fromarray(image), Image.fromarray(normalised(x)), alpha=0.5))

    # Its overlay squares what it colours.
    return Peer("torch-cam `overlay_mask`, equal weights", lambda x: normalised(x) ** 2, overlay)


PEERS: Dict[str, Peer] = {
    "mmengine mean": _mmengine("squeeze_mean"),
    "mmengine max": _mmengine("select_max"),
    "grad-cam mean": _grad_cam("grad-cam `show_cam_on_image`, equal weights", lambda x: np.asarray(x.mean(0))),
    "grad-cam Eigen-CAM": _grad_cam("grad-cam `show_cam_on_image`, Eigen-CAM", _first_component),
    "torch-cam": _torch_cam(),
}
