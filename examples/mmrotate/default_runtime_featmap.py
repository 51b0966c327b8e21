# MMRotate's default_runtime.py, and every feature map of the test loop in runs/featmap.
# Put it in place of '../_base_/default_runtime.py' in the _base_ of your config.
_base_ = "mmrotate::_base_/default_runtime.py"

custom_imports = dict(imports=["featscope.adapters.mmengine"], allow_failed_imports=False)
custom_hooks = [dict(type="mmdet.FeatureMapHook", save_dir="runs/featmap")]
