"""Name the folder of a layer's maps: `<layer path>.<class name, lower case>`, or the name that the user gives."""

from __future__ import annotations

from collections import Counter
from typing import Dict, Mapping, Sequence

from isal import isal_zlib
from torch import nn

from featscope.capturing.layers import children_of, modules_of
from featscope.errors import BadOptionError, unknown_name
from featscope.store.files import check_folder_name, is_ours, refuse_shared, safe_name


class FolderNames:
    """Names the folders of layers.

    >>> model = nn.Sequential(nn.ModuleList([nn.ReLU()]))
    >>> FolderNames(model, ["0"], {"0": "head.refine"}).of("0.0", "ReLU")
    'head.refine'

    asked: the requested layers. names: layer -> a name in place of `<layer path>.<class name>`; parts that speak for
    the layer use it too. Raises `BadOptionError` for a name that is invalid or given twice, and `UnknownNameError` for
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
        refuse_shared(names, "layers", "`names`")
        # Windows and macOS ignore case in file names, so names that differ only by case would share a folder.
        self._counts = Counter(self._own(name, type(part).__name__).casefold() for name, part in self._modules.items())
        for layer, name in names.items():
            own = self._own(layer, type(self._modules[layer]).__name__) if layer in self._modules else ""
            if self._counts[name.casefold()] > (name.casefold() == own.casefold()):
                raise BadOptionError(f"the folder {name!r} belongs to another layer; change `names`")

    def of(self, layer: str, cls: str) -> str:
        """Return the folder of a layer that ran."""
        if layer not in self._known:
            self._known[layer] = self._given(layer) or self._apart(layer, self._own(layer, cls))
        return self._known[layer]

    def _own(self, layer: str, cls: str) -> str:
        return safe_name(f"{layer}.{cls.lower()}" if layer else cls.lower())

    def _apart(self, layer: str, own: str) -> str:
        """Return the layer's own name, with a suffix if a disk could confuse it with another one."""
        if is_ours(own):
            return f"{own}.output"
        if self._counts[own.casefold()] > 1 and own != own.lower():
            return f"{own}~{isal_zlib.crc32(layer.encode()):08x}"
        return own

    def _given(self, layer: str) -> str:
        """Return the name that the user gave for a layer, or for the layer that it speaks for."""
        if layer in self._names:
            return self._names[layer]
        for above, name in self._names.items():
            if layer.startswith(above + ".") and above in self._asked:
                rest = layer[len(above) + 1 :]
                only_child = "." not in rest and len(children_of(self._modules[above])) == 1
                return name if only_child else f"{name}.{safe_name(rest)}"
        return ""
