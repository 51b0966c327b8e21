"""The methods of explanation: one table, from which the command's help, the checks and the tests come.

To add a method by gradient, write a function of (activation, gradient), both (C, H, W), in `cam.py`, and add its row.
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
"""The default for a function of which no layer is known."""

ALL = "all"
"""In place of a method: all that need no more than one forward."""


class Method(NamedTuple):
    """How a map is made.

    by: 'gradient' of a score at a layer; 'values' of a layer, whatever the score; 'hiding' of parts of the image or of
    the layer, many forwards. function: its module in this package, and its name. what: in a few words. layer: whether
    it is a map of a layer.
    """

    by: str
    function: str
    what: str
    layer: bool = True

    @property
    def compute(self) -> Cam:
        """The function of a method by gradient or by values."""
        return self._load("gradient", "values")

    @property
    def hide(self) -> Hide:
        """The function of a method by hiding."""
        return self._load("hiding")

    def _load(self, *kinds: str) -> Any:
        # The table is read by `featscope explain --help` and the like, which need no torch.
        module, _, name = self.function.partition(".")
        if self.by not in kinds:
            raise TypeError(f"{self.function} explains by {self.by}")
        return getattr(import_module(f"featscope.explaining.{module}"), name)


METHODS: Dict[str, Method] = {
    "layercam": Method("gradient", "cam.layer_cam", "each cell by its own gradient, where that is positive"),
    "grad-cam": Method("gradient", "cam.grad_cam", "channels by their mean gradient"),
    "grad-cam++": Method(
        "gradient", "cam.grad_cam_plus_plus", "channels by their positive gradients, rare ones counting more"
    ),
    "hirescam": Method("gradient", "cam.hires_cam", "each cell by its own gradient"),
    "xgrad-cam": Method("gradient", "cam.x_grad_cam", "channels by gradient times their share of activation"),
    "odam": Method("gradient", "cam.odam", "each cell by its gradient, smoothed; made for single boxes"),
    "eigen-cam": Method("values", "cam.eigen_cam", "the first principal component, the same for all boxes of a level"),
    "ablation-cam": Method("hiding", "masking.ablation_cam", "the layer without each of its channels"),
    "score-cam": Method("hiding", "masking.score_cam", "the image under each channel of the layer"),
    "d-rise": Method("hiding", "masking.d_rise", "random masks over the image; needs no layer", layer=False),
}


def methods_named(names: Sequence[str]) -> List[str]:
    """The methods that a user named, each once; 'all' stands for those that need one forward.

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
    """Raise `BadOptionError` where one side of a box is asked of methods that have no gradient of it."""
    others = [name for name in names if METHODS[name].by != "gradient"]
    if side and others:
        raise BadOptionError(f"the {side} of a box is explained by its gradient alone: leave out {', '.join(others)}")


def help_text() -> str:
    """What `featscope explain --help` says of the methods."""
    kinds = {"gradient": "By gradient", "values": "by the layer's values", "hiding": "by hiding, slower"}
    by = {kind: ", ".join(name for name, method in METHODS.items() if method.by == kind) for kind in kinds}
    return "; ".join(f"{kinds[kind]}: {names}" for kind, names in by.items()) + (
        f". '{ALL}': all but those by hiding. Repeat it for more."
    )
