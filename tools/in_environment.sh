#!/usr/bin/env bash
# Run a program of .venv, or of the active environment where there is no .venv: bash tools/in_environment.sh ruff check
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
program="$1"
shift
if [ -f .venv/pyvenv.cfg ]; then
    program="$(programs_of .venv)/$program"
fi
if ! command -v "$program" >/dev/null; then
    echo "there is no $program; type: bash tools/test.sh --co, which sets up .venv, or: pip install -e '.[dev]'" >&2
    exit 1
fi
exec "$program" "$@"
