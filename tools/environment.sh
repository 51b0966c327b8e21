# Sourced by demo.sh and test.sh: a virtual environment in .venv with featscope and the named extras.
# Needs Python 3.8 or newer with venv; PYTHON and TORCH choose others.

make_environment() {
    local extras="$1"
    PYTHON="${PYTHON:-python3}"
    if [ -z "${TORCH:-}" ]; then
        # The newest release that this Python has; a pin, as the newest of all takes gigabytes.
        TORCH=$("$PYTHON" -c 'import sys; v = sys.version_info; print("torch==2.13.0" if v >= (3, 10) else "torch==2.4.1")')
    fi
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$TORCH" --editable ".[$extras]"
}
