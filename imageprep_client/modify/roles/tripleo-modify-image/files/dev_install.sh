# Replace each project in /mnt/projects that the image has. Nothing is fetched:
# dependencies are in the image, or are among the projects.
set -eu
umask 022

# The version of a project that is installed.
installed='
import configparser
import importlib.metadata
import sys

parser = configparser.ConfigParser(interpolation=None)
parser.read(sys.argv[1] + "/setup.cfg")
name = parser.get("metadata", "name", fallback="")
try:
    print(importlib.metadata.version(name))
except (importlib.metadata.PackageNotFoundError, ValueError):
    print("0.0.0")
'

export TMPDIR=/mnt PIP_BREAK_SYSTEM_PACKAGES=1
for project in /mnt/projects/*; do
    cd "$project"
    # pbr would ask git, which images do not have, for the files of a package
    # and for its version. Other packages require the installed version.
    printf '%s\n' "global-include *" "global-exclude *.py[co]" "prune .git" \
        >>MANIFEST.in
    PBR_VERSION=$(python3 -c "$installed" .)
    export PBR_VERSION
    if python3 -c "import pip" 2>/dev/null; then
        python3 -m pip install --quiet --disable-pip-version-check \
            --no-cache-dir --no-index --no-deps --no-build-isolation \
            --force-reinstall .
    else
        python3 setup.py --quiet install --root=/ --record=/mnt/record \
            --single-version-externally-managed
    fi
done
