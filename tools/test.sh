#!/usr/bin/env bash
# Set up, and run the tests: bash tools/test.sh [options of pytest]
# The tests marked slow are left out; -m slow runs them alone.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
make_environment dev
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # each process of the tests has one core
exec "$BIN/python" -m pytest -n logical --maxprocesses 4 --dist worksteal "$@"
