"""What a careful user would write by hand: forward hooks on four modules, each tensor cloned and saved.

The integration tests compare featscope's maps with these, bit for bit.
"""

from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

PARTS = {
    "backbone.resnet": lambda model: model.backbone,
    "neck.fpn": lambda model: model.neck,
    "bbox_head_init.s2anet_init": lambda model: model.bbox_head_init,
    "bbox_head_refine.s2anet_refine": lambda model: model.bbox_head_refine[0],
}


@HOOKS.register_module()
class ReferenceHook(Hook):
    def __init__(self, save_dir):
        self.root, self.batch = Path(save_dir), 0

    def before_test_epoch(self, runner):
        for name, find in PARTS.items():
            find(runner.model).register_forward_hook(lambda m, i, out, name=name: self.save(name, out))

    def before_test_iter(self, runner, batch_idx, data_batch=None):
        self.batch = batch_idx

    def save(self, name, out):
        fields = {f"{name}.cls_scores": out[0], f"{name}.bbox_preds": out[1]} if "head" in name else {name: out}
        for folder, levels in fields.items():
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            for level, tensor in enumerate(levels):
                np.save(self.root / folder / f"batch_{self.batch}_layer_{level}.npy", tensor.clone().numpy())
