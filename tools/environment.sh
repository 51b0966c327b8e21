# Sourced by demo.sh, test.sh and .ci/run: a virtual environment in .venv with featscope and the named extras.
# Needs Python 3.8 or newer with venv; PYTHON and TORCH choose others.

PYTHON="${PYTHON:-python3}"

programs_of() { # where a virtual environment keeps its programs
    if [ -d "$1/Scripts" ]; then echo "$1/Scripts"; else echo "$1/bin"; fi # Scripts on Windows
}

make_environment() { # the extras
    if [ -z "${TORCH:-}" ]; then
        # The newest release that this Python has; a pin, as the newest of all takes gigabytes.
        TORCH=$("$PYTHON" -c 'import sys; v = sys.version_info; print("torch==2.13.0" if v >= (3, 10) else "torch==2.4.1")')
    fi
    [ -f .venv/pyvenv.cfg ] || "$PYTHON" -m venv .venv
    BIN="$(programs_of .venv)"
    "$BIN/python" -m pip install --quiet --disable-pip-version-check "$TORCH" --editable ".[$1]"
}
