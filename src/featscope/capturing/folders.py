"""The folder of a layer's maps: `<layer path>.<class name, lower case>`, or the name the user gives."""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

from torch import nn

from featscope.capturing.layers import children_of, modules_of
from featscope.errors import BadOptionError, unknown_name
from featscope.store.files import check_folder_name, safe_name


class FolderNames:
    """Names folders of layers.

    >>> model = nn.Sequential(nn.ModuleList([nn.ReLU()]))
    >>> FolderNames(model, ["0"], {"0": "head.refine"}).of("0.0", "ReLU")
    'head.refine'

    asked: the layers that were asked for. names: layer -> another name in place of
    `<layer path>.<class name>`; it also serves the layers that stand for that layer. Raises
    `BadOptionError` for a name that cannot be a folder's or is given twice, `UnknownNameError` for
    a layer that the model does not have.
    """

    def __init__(self, model: nn.Module, asked: Sequence[str], names: Mapping[str, str]) -> None:
        self._modules = dict(modules_of(model))
        self._asked, self._names = set(asked), dict(names)
        self._known: Dict[str, str] = {}
        for layer, name in names.items():
            check_folder_name(name)
            if layer not in self._modules and layer not in self._asked:
                raise unknown_name("layer", layer, [n for n in self._modules if n], "featscope layers MODEL")
        given = list(names.values())
        for name in given:
            if given.count(name) > 1:
                raise BadOptionError(f"two layers cannot share the folder {name!r}; change `names`")

    def of(self, layer: str, cls: str) -> str:
        """The folder of a layer that ran."""
        if layer not in self._known:
            self._known[layer] = self._given(layer) or safe_name(f"{layer}.{cls.lower()}" if layer else cls.lower())
        return self._known[layer]

    def _given(self, layer: str) -> str:
        """The name given for a layer, or for the one above it that it stands for."""
        if layer in self._names:
            return self._names[layer]
        for above, name in self._names.items():
            if layer.startswith(above + ".") and above in self._asked:
                rest = layer[len(above) + 1 :]
                only_child = "." not in rest and len(children_of(self._modules[above])) == 1
                return name if only_child else f"{name}.{safe_name(rest)}"
        return ""
