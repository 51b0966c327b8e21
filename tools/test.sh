#!/usr/bin/env bash
# Set up, and run the tests: bash tools/test.sh [options of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
make_environment dev
exec .venv/bin/python -m pytest "$@"
