"""The module that a config of MMEngine imports to use the hook::

    custom_imports = dict(imports=['featscope.adapters.mmengine'])
    custom_hooks = [dict(type='mmdet.FeatureMapHook', save_dir='runs/s2anet')]

The hook itself is in `featscope.adapters.mm.hook`.
"""

from __future__ import annotations

from featscope.adapters.mm.hook import FeatureMapHook

__all__ = ["FeatureMapHook"]
