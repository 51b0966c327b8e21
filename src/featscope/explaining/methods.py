"""The table of explanation methods, which the command's help, the checks and the tests use.

To add a gradient method, write a function of (activation, gradient), both (C, H, W), in `cam.py`, and add its row here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Sequence

from featscope.errors import BadOptionError, unknown_name

if TYPE_CHECKING:
    from featscope.explaining.cam import Cam
    from featscope.explaining.masking import Hide

DEFAULT = "layercam"

WITHOUT_LAYER = "d-rise"
"""The default method for a function without known layers."""

ALL = "all"
"""Given in place of a method for all methods that need only one forward."""


class Method(NamedTuple):
    """A method of explanation."""

    by: str
    """'gradient' of a score at a layer; 'values' of a layer, independent of the score; or 'hiding' of parts of the
    image or of the layer, which needs many forwards."""

    function: str
    """Module in this package and name of the function."""

    what: str
    """Short description."""

    layer: bool = True
    """Whether the map belongs to a layer."""

    @property
    def compute(self) -> Cam:
        """The function of a method by gradient or values."""
        return self._load("gradient", "values")

    @property
    def hide(self) -> Hide:
        """The function of a hiding method."""
        return self._load("hiding")

    def _load(self, *kinds: str) -> Any:
        # Import lazily, because `featscope explain --help` reads the table without torch.
        module, _, name = self.function.partition(".")
        if self.by not in kinds:
            raise TypeError(f"{self.function} is a method by {self.by}")
        return getattr(import_module(f"featscope.explaining.{module}"), name)


METHODS: Dict[str, Method] = {
    "layercam": Method("gradient", "cam.layer_cam", "each cell weighted by its own gradient if that is positive"),
    "grad-cam": Method("gradient", "cam.grad_cam", "channels weighted by their mean gradient"),
    "grad-cam++": Method(
        "gradient",
        "cam.grad_cam_plus_plus",
        "channels weighted by their positive gradients, with more weight on rare ones",
    ),
    "hirescam": Method("gradient", "cam.hires_cam", "each cell weighted by its own gradient"),
    "xgrad-cam": Method(
        "gradient", "cam.x_grad_cam", "channels weighted by their gradient times their share of activation"
    ),
    "odam": Method("gradient", "cam.odam", "each cell weighted by its smoothed gradient; designed for single boxes"),
    "eigen-cam": Method("values", "cam.eigen_cam", "the first principal component, the same for all boxes of a level"),
    "ablation-cam": Method("hiding", "masking.ablation_cam", "each channel of the layer is removed in turn"),
    "score-cam": Method("hiding", "masking.score_cam", "the image is masked with each channel of the layer"),
    "d-rise": Method("hiding", "masking.d_rise", "random masks over the image; needs no layer", layer=False),
}


def methods_named(names: Sequence[str]) -> List[str]:
    """Return the methods that a user named, without duplicates. 'all' stands for those that need one forward.

    >>> methods_named(["odam", "layercam", "odam"])
    ['odam', 'layercam']
    """
    quick = [name for name, method in METHODS.items() if method.by != "hiding"]
    chosen = [one for name in names or [DEFAULT] for one in (quick if name == ALL else [name])]
    for name in chosen:
        if name not in METHODS:
            raise unknown_name("method", name, [*METHODS, ALL], "featscope explain --help")
    return list(dict.fromkeys(chosen))


def refuse_side(names: Sequence[str], side: str) -> None:
    """Raise `BadOptionError` if a side of a box is requested of methods without gradients."""
    others = [name for name in names if METHODS[name].by != "gradient"]
    if side and others:
        raise BadOptionError(f"only gradient methods can explain the {side} of a box; leave out {', '.join(others)}")


def help_text() -> str:
    """Return the text of `featscope explain --help` about the methods."""
    kinds = {"gradient": "By gradient", "values": "by the layer's values", "hiding": "by hiding, slower"}
    by = {kind: ", ".join(name for name, method in METHODS.items() if method.by == kind) for kind in kinds}
    return "; ".join(f"{kinds[kind]}: {names}" for kind, names in by.items()) + (
        f". '{ALL}': all but those by hiding. Repeat it for more."
    )
