# S2ANet's own test config, and its feature maps under the folder names that the paper's figures use:
#
#     python tools/test.py s2anet-le135_r50_fpn_1x_dota_featmap.py s2anet.pth
#     featscope heat runs/s2anet
_base_ = "mmrotate::s2anet/s2anet-le135_r50_fpn_1x_dota.py"

custom_imports = dict(imports=["featscope.adapters.mmengine"], allow_failed_imports=False)
custom_hooks = [
    dict(
        type="mmdet.FeatureMapHook",
        save_dir="runs/s2anet",
        layers=["backbone", "neck", "bbox_head_init", "bbox_head_refine"],
        names={
            "backbone": "backbone.resnet",
            "neck": "neck.fpn",
            "bbox_head_init": "bbox_head_init.s2anet_init",
            "bbox_head_refine": "bbox_head_refine.s2anet_refine",
        },
    )
]
