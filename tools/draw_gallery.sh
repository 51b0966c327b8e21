#!/usr/bin/env bash
# Draw the pictures of the gallery and of the README again: bash tools/draw_gallery.sh AERIAL DRONE EVERYDAY
# Each is a folder of photos; docs/gallery.md says where they come from. FEATSCOPE is the command (with MMRotate),
# YOLOX the config yolox_nano_8xb8-300e_coco.py of MMDetection. The weights are beside the project, in ../shared/models.
set -euo pipefail
cd "$(dirname "$0")/.."
AERIAL=$1 DRONE=$2 EVERYDAY=$3
MODELS=../shared/models
OUT=docs/images/gallery
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
FEATSCOPE="${FEATSCOPE:-featscope}"
featscope() { $FEATSCOPE "$@"; }
PYTHON="${PYTHON:-python3}"
jpeg() { # a picture, and the file that it becomes
    "$PYTHON" -c 'import sys; from PIL import Image; Image.open(sys.argv[1]).convert("RGB").save(sys.argv[2], quality=85)' \
        "$1" "$2"
}
keep() { # what was drawn, and its name in the gallery
    jpeg "$1" "$OUT/$2"
}
beside() { # pictures of the gallery side by side: the new file, then theirs
    "$PYTHON" - "$@" <<'END'
import sys
from PIL import Image

pictures = [Image.open(name).convert("RGB") for name in sys.argv[2:]]
gap, high = 12, max(picture.height for picture in pictures)
wide = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
strip, left = Image.new("RGB", (wide, high), "white"), 0
for picture in pictures:
    strip.paste(picture, (left, high - picture.height))
    left += picture.width + gap
strip.save(sys.argv[1], quality=85)
END
}
S2ANET=("$MODELS/s2anet_tiny.py" "$MODELS/s2anet_tiny.pth")

echo "== the built-in detector on a scene that it draws"
featscope demo -o "$WORK/demo"
HEAT=$WORK/demo/run/heat
"$PYTHON" - "$WORK/demo/run" docs/images/detections.jpg <<'END'
import sys
from PIL import Image
from featscope import open_run
from featscope.render.boxes import draw_boxes
from featscope.store.images import read_image
run = open_run(sys.argv[1])
sample = run.samples["scene_3"]
picture = Image.fromarray(read_image(sample.path, sample.reading))
draw_boxes(picture, sample.predictions, run.info.classes)
picture.save(sys.argv[2], quality=85)
END
jpeg "$HEAT/neck.fpn/scene_3_level0_overlay.png" docs/images/neck.jpg
jpeg "$HEAT/bbox_head_refine.0.s2arefinehead.cls_scores/scene_3_level0_overlay.png" docs/images/cls_scores.jpg

echo "== S2ANet on aerial photos of aeroplanes"
featscope capture "${S2ANET[@]}" -i "$AERIAL" -o "$WORK/aerial" \
    --cfg-options 'test_dataloader.dataset.pipeline.1.scale=(128,128)'
featscope heat "$WORK/aerial" -l neck -l 'bbox_head_refine.*' --boxes --no-alone --format jpg
HEAT=$WORK/aerial/heat
for level in 0 1 2; do
    keep "$HEAT/neck.fpn/large-aircraft_level${level}_overlay.jpg" "plane_neck_level$level.jpg"
done
keep "$HEAT/bbox_head_refine.0.s2arefinehead.cls_scores/large-aircraft_level2_overlay.jpg" plane_scores.jpg
keep "$HEAT/bbox_head_refine.0.s2arefinehead.cls_scores/single-engine_level1_overlay.jpg" single_engine_scores.jpg
keep "$HEAT/bbox_head_refine.0.s2arefinehead.cls_scores/military-fighter_level1_overlay.jpg" fighter_scores.jpg
featscope explain "${S2ANET[@]}" -i "$AERIAL/large-aircraft.jpg" --top 1 -m layercam -m grad-cam -m d-rise --masks 400 \
    -o "$WORK/why" --cfg-options 'test_dataloader.dataset.pipeline.1.scale=(128,128)'
for method in layercam grad-cam d-rise; do
    picture=$(find "$WORK/why" -name "*_${method}*.png" | head -1)
    keep "$picture" "plane_$method.jpg"
done
featscope heat "$WORK/aerial" --sample large-aircraft -l neck -l 'bbox_head_refine.*' --boxes --no-alone --no-legend -o "$WORK/plain"
beside docs/images/readme.jpg "$WORK/plain/neck.fpn/large-aircraft_level0_overlay.png" \
    "$WORK/plain/bbox_head_refine.0.s2arefinehead.cls_scores/large-aircraft_level2_overlay.png" "$OUT/plane_d-rise.jpg"
featscope render "$WORK/aerial" -l neck --level 0 --sample large-aircraft -c top:16 --columns 8 --scale 6
keep "$(find "$WORK/aerial/render" -name '*.png' | head -1)" plane_channels.jpg

echo "== S2ANet on a road junction"
featscope capture "${S2ANET[@]}" -i "$DRONE" -o "$WORK/drone" -l bbox_head_refine
featscope heat "$WORK/drone" -l '**' --only '*cls_scores' --level 0 --boxes --no-alone --max-size 800
keep "$(find "$WORK/drone/heat" -name '*_overlay.png' | head -1)" junction_scores.jpg

echo "== YOLOX on everyday photos"
featscope capture "$YOLOX" "$MODELS/yolox_nano_coco_mmdet.pth" -i "$EVERYDAY" -o "$WORK/everyday" -l neck -l bbox_head
featscope heat "$WORK/everyday" --boxes --no-alone --format jpg --max-size 600
HEAT=$WORK/everyday/heat
keep "$HEAT/neck.yoloxpafpn/coffee_level1_overlay.jpg" coffee_neck.jpg
keep "$HEAT/bbox_head.yoloxhead.cls_scores/coffee_level1_overlay.jpg" coffee_scores.jpg
keep "$HEAT/bbox_head.yoloxhead.cls_scores/chelsea_level1_overlay.jpg" cat_scores.jpg
featscope heat "$WORK/everyday" -l neck -r pca --no-alone --format jpg --max-size 600 -o "$WORK/pca"
keep "$WORK/pca/neck.yoloxpafpn/coffee_level0_overlay.jpg" coffee_pca.jpg
featscope explain "$WORK/everyday" --sample coffee --top 1 -m layercam -m odam
for method in layercam odam; do
    keep "$(find "$WORK/everyday/explain" -name "*_${method}*.png" | head -1)" "coffee_$method.jpg"
done
featscope explain "$WORK/everyday" --sample astronaut --top 1 -m layercam
keep "$(find "$WORK/everyday/explain" -path '*astronaut*' -name '*_layercam*.png' | head -1)" astronaut_layercam.jpg
ls -l "$OUT"
