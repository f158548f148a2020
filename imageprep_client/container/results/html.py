"""The report of a preparation as one page that needs nothing else.

No script, no external resource; all text from images, registries and files
is escaped, and a content security policy forbids everything but the style.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from html import escape

from imageprep_client import wording
from imageprep_client.container.request import PrepareResult, Row

_SLOWEST = 10
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto;
  max-width: 70em; padding: 0 1em; color: #1c2733; background: #fff; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3em .6em;
  border-bottom: 1px solid #d5dce3; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; }
.totals { display: flex; flex-wrap: wrap; gap: 1em; }
.totals div { border: 1px solid #d5dce3; border-radius: .4em;
  padding: .6em 1em; min-width: 8em; }
.totals strong { display: block; font-size: 1.5em; }
.bar { display: flex; height: 1.2em; min-width: 20em;
  background: #eef1f4; }
.bar span { display: block; }
.copied { background: #2a6fb0; } .shared { background: #8fc1a9; }
.failed { color: #a3122b; font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def render(
    result: PrepareResult, *, header: Sequence[str] = (), dry_run: bool
) -> str:
    """The page: totals, registries, images by outcome, failures by cause,
    the slowest images, and every image.

    :param header: lines on when and how the report was made.
    """
    title = "Image preparation" + (" (dry run)" if dry_run else "")
    failed = [row for row in result.rows if row.error]
    parts = [
        f"<h1>{title}</h1>",
        f"<pre>{escape(chr(10).join(header))}</pre>" if header else "",
        _totals(result.rows),
        _section("Registries", _registries(result.rows)),
        _section("Images by outcome", _outcomes(result.rows)),
        _section("Failures by cause", _failures(failed)) if failed else "",
        _section("Slowest images", _slowest(result.rows)),
        _section("All images", _images(result.rows)),
    ]
    body = "\n".join(filter(None, parts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}" if content else ""


def _table(
    names: Sequence[str], rows: Iterable[Sequence[str]], numbers: int
) -> str:
    """A table of escaped cells; the last `numbers` columns are numbers."""
    first = len(names) - numbers

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="number">{cell}</{tag}>'
            if place >= first
            else f"<{tag}>{cell}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f"<table>\n<thead><tr>{line('th', names)}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )


def _totals(rows: Sequence[Row]) -> str:
    figures = {
        "images": str(len(rows)),
        "failed": str(sum(bool(row.error) for row in rows)),
        "copied": wording.size(sum(row.copied for row in rows)),
        "shared within destinations": wording.size(
            sum(row.mounted for row in rows)
        ),
        "already there": wording.size(sum(row.kept for row in rows)),
    }
    cells = "\n".join(
        f"<div><strong>{value}</strong>{name}</div>"
        for name, value in figures.items()
    )
    return f'<div class="totals">\n{cells}\n</div>'


def _registries(rows: Sequence[Row]) -> str:
    """A bar for each registry: bytes that travelled from it, and shared."""
    copied: collections.Counter[str] = collections.Counter()
    shared: collections.Counter[str] = collections.Counter()
    for row in rows:
        registry = row.source.removeprefix("docker://").partition("/")[0]
        copied[registry] += row.copied
        shared[registry] += row.mounted + row.kept
    largest = max((copied[name] + shared[name] for name in copied), default=0)
    return _table(
        ("Registry", "", "Copied", "Shared"),
        (
            (
                escape(name),
                _bar(copied[name], shared[name], largest),
                wording.size(copied[name]),
                wording.size(shared[name]),
            )
            for name in sorted(copied)
        ),
        numbers=2,
    )


def _bar(copied: int, shared: int, largest: int) -> str:
    def span(kind: str, count: int) -> str:
        width = 100 * count / largest if largest else 0
        return f'<span class="{kind}" style="width: {width:.2f}%"></span>'

    label = f"{wording.size(copied)} copied, {wording.size(shared)} shared"
    return (
        f'<div class="bar" role="img" aria-label="{label}">'
        f"{span('copied', copied)}{span('shared', shared)}</div>"
    )


def _outcomes(rows: Sequence[Row]) -> str:
    counts = collections.Counter(str(row.outcome) for row in rows)
    return _table(
        ("Outcome", "Images"),
        ((escape(name), str(count)) for name, count in counts.most_common()),
        numbers=1,
    )


def _failures(rows: Sequence[Row]) -> str:
    errors = [row.error for row in rows if row.error]
    images = {row.error: row.image for row in rows}
    return _table(
        ("Cause", "Such as", "Images"),
        (
            (
                f'<span class="failed">{escape(group[0])}</span>',
                escape(images[group[0]]),
                str(len(group)),
            )
            for group in wording.alike(errors)
        ),
        numbers=1,
    )


def _slowest(rows: Sequence[Row]) -> str:
    timed = sorted(
        (row for row in rows if row.seconds),
        key=lambda row: row.seconds,
        reverse=True,
    )
    if not timed:
        return ""
    return _table(
        ("Image", "Copied", "Time"),
        (
            (
                escape(row.image),
                wording.size(row.copied),
                wording.duration(row.seconds),
            )
            for row in timed[:_SLOWEST]
        ),
        numbers=2,
    )


def _images(rows: Sequence[Row]) -> str:
    return _table(
        ("Image", "Destination", "Digest", "Outcome", "Copied"),
        (
            (
                escape(row.image),
                escape(row.destination or ""),
                escape(row.digest or ""),
                escape(str(row.outcome)),
                wording.size(row.copied),
            )
            for row in rows
        ),
        numbers=1,
    )
