"""Count the connections that servers of this host have open, at most.

::

    python -m tests.benchmarks.connections PORT...

Prints the numbers as JSON for each line of its standard input, and at its end;
they are those since the line before. It is a process of its own, so that its
processor time is nobody's.
"""

from __future__ import annotations

import collections
import json
import pathlib
import select
import sys
from collections.abc import Sequence

_PERIOD = 0.1
_ESTABLISHED = "01"


def main(ports: Sequence[str]) -> None:
    """Look until standard input ends."""
    wanted = {f"{int(port):04X}": port for port in ports}
    most = dict.fromkeys(ports, 0)
    while True:
        now: collections.Counter[str] = collections.Counter()
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            port = wanted.get(words[1].rpartition(":")[2])
            if port and words[3] == _ESTABLISHED:
                now[port] += 1
        most = {port: max(most[port], now[port]) for port in ports}
        if select.select([sys.stdin], [], [], _PERIOD)[0]:
            is_last = not sys.stdin.readline()
            print(json.dumps(most), flush=True)
            if is_last:
                return
            most = dict.fromkeys(ports, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
