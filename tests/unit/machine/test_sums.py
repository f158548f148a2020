"""Lists of checksums."""

from __future__ import annotations

import pytest

from imageprep_client.machine.archives.sums import ChecksumList

SUM = "0" * 64


@pytest.mark.parametrize(
    "line", ["  a.tar", " *a.tar", " a.tar", "  ./a.tar", " *./a.tar"]
)
def test_forms_of_lines(line: str) -> None:
    """Each program writes a line in a form of its own."""
    listed = ChecksumList.parse(f"{SUM}{line}\n".encode(), "SHA256SUMS")
    assert listed.sums == {"a.tar": SUM}
