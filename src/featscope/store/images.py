"""Image files, as the detectors read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from featscope.errors import BadImageError


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) RGB, as it is stored: detectors do not turn it by its EXIF tag."""
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError:
        raise BadImageError(f"the image {path} does not exist") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise BadImageError(f"the image {path} cannot be read: {error}") from None
