# Sourced by tools/check and tools/demo.

# Without tags, and in a tree that is no checkout, pbr cannot tell a version.
git rev-parse --quiet --verify HEAD >/dev/null 2>&1 ||
    export PBR_VERSION=${PBR_VERSION:-0.0.0}

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

# The Python of the environments: $PYTHON, or else the one of the distribution
# if it can make them. A Python compiled by hand is often built without
# optimizations: with that of pyenv the tests take up to a tenth more time.
interpreter() {
    local python=${PYTHON:-/usr/bin/python3}
    "$python" -c '
import ensurepip, sys, venv
sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=${PYTHON:-python3}
    echo "$python"
}

# Put a virtual environment on the PATH that has the project, editable and
# with $EXTRAS, and the packages of the requirement files, for $PYTHON:
# virtual_environment DIRECTORY FILE...
# It is made anew when one of them, Python or the entry points changed.
virtual_environment() {
    local venv=$1 file stamp options=() python
    python=$(interpreter)
    shift
    for file; do
        options+=(-r "$file")
    done
    stamp=$(
        echo "$PWD $python"
        "$python" --version
        cat "$@" setup.cfg
    )
    if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            fail "$python is older than 3.11"
        # Those of an earlier build would have the earlier entry points.
        rm -rf ./*.egg-info
        "$python" -m venv --clear "$venv" ||
            fail "no virtual environment (Debian: apt install python3-venv)"
        # The pip of a new environment is as old as its Python, and much
        # slower. Modules are compiled when they are first used.
        "$venv/bin/pip" install -qq --disable-pip-version-check \
            --no-compile --upgrade pip pbr setuptools
        "$venv/bin/pip" install -qq --disable-pip-version-check \
            --no-compile --no-build-isolation "${options[@]}" \
            --editable ".${EXTRAS:-}"
        echo "$stamp" >"$venv/stamp"
    fi
    PATH=$venv/bin:$PATH
}
