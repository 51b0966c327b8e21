#!/usr/bin/env bash
# Set up, and run the demo: bash tools/demo.sh [options of featscope demo]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
make_environment demo
exec "$BIN/featscope" demo "$@"
