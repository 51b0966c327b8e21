#!/usr/bin/env bash
# Build the documentation site into build/site: bash tools/docs.sh [options of mkdocs build]
# A warning is an error. Needs a network once, for the packages; the build itself needs none.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
[ -x .venv-docs/bin/python ] || "$PYTHON" -m venv .venv-docs
.venv-docs/bin/python -c "import mkdocs, material, mkdocstrings, mkdocs_static_i18n" 2>/dev/null ||
    .venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
NO_MKDOCS_2_WARNING=1 exec .venv-docs/bin/python -m mkdocs build --strict "$@"
