"""Check that a wheel has every file of the package, and nothing else.

::

    python tools/wheel_contents.py WHEEL

What is expected is what git tracks below ``imageprep_client``, or will when
it is added; outside of a checkout, what is there.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import zipfile

PACKAGE = "imageprep_client"
TOP = pathlib.Path(__file__).parents[1]


def expected() -> set[str]:
    """The files of the package, relative to the top of the project."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", PACKAGE],
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0 and listing.stdout:
        return set(listing.stdout.splitlines())
    return {
        str(path.relative_to(TOP))
        for path in (TOP / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def main(wheel: str) -> int:
    """Name what is missing or too much; 0 when there is neither."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {name for name in names if ".dist-info/" not in name}
    wanted = expected()
    problems = [f"missing: {name}" for name in sorted(wanted - files)]
    problems += [f"too much: {name}" for name in sorted(files - wanted)]
    if not any(name.endswith("/entry_points.txt") for name in names):
        problems.append("missing: entry_points.txt")
    if not any("/catalog/data/" in name for name in files):
        problems.append("missing: the image tables of the catalog")
    for problem in problems:
        print(f"{pathlib.Path(wheel).name}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
