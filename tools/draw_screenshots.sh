#!/usr/bin/env bash
# Take the screenshots of the viewer in docs/images, in an environment that has MMRotate, playwright and Chromium:
#   PYTHON=/path/to/python FEATSCOPE="/path/to/featscope" bash tools/draw_screenshots.sh MODELS PHOTOS
# MODELS: the folder with s2anet_tiny.py and .pth. PHOTOS: aerial photos that may be published.
set -euo pipefail
cd "$(dirname "$0")/.."
MODELS="$1" PHOTOS="$2"
PYTHON="${PYTHON:-python3}"
FEATSCOPE="${FEATSCOPE:-featscope}"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

for scale in 128 192; do # two runs to compare: the same photos at two sizes of input
    $FEATSCOPE capture "$MODELS/s2anet_tiny.py" "$MODELS/s2anet_tiny.pth" -i "$PHOTOS" -o "$WORK/input-$scale" \
        --cfg-options "test_dataloader.dataset.pipeline.1.scale=($scale,$scale)"
done
$FEATSCOPE report "$WORK/input-128" -o "$WORK/report.html" --sample 'large-aircraft'
"$PYTHON" -m tools.screenshots "$WORK/input-128" "$WORK/input-192" "$WORK/report.html" docs/images
