"""``run --report-html``: the page, and the page in a real browser."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

from imageprep_client.container.request import PrepareResult, Row
from imageprep_client.container.results import html
from imageprep_client.observer import ImageOutcome
from tests.functional.deployment import Deployment

TREE = ("--image-serve", "tree")

BROWSER = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
EVIL = '</title><script src="http://evil.example/x"></script><img src=x>&"\''


class Elements(HTMLParser):
    """The elements of a page and the text that people see.

    :ivar tags: names of elements, with their attributes.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def colours(path: Path) -> int:
    """How many colours a screenshot has; 1 means that it is empty."""
    data = path.read_bytes()
    pixels = b""
    place, width, channels = 8, 0, 3
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind = data[place + 4 : place + 8]
        content = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width = struct.unpack(">I", content[:4])[0]
            channels = {2: 3, 6: 4}[content[9]]
        if kind == b"IDAT":
            pixels += content
        place += 12 + length
    raw = zlib.decompress(pixels)
    step = width * channels + 1
    # Each line begins with its filter; filtered lines that are alike are
    # lines of one colour.
    return len({raw[n + 1 : n + step] for n in range(0, len(raw), step)})


def browse(page: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Open the page in a browser that knows nothing else."""
    home = page.parent / "browser"
    return subprocess.run(
        [
            *BROWSER,
            f"--user-data-dir={home}",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            *words,
            page.as_uri(),
        ],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_page_of_a_run(site: Deployment) -> None:
    """Totals, the registry's bar, outcomes, causes and slowest images."""
    site.registry.fail(
        "", "/openstack-nova-api/manifests/", status=404, times=None
    )
    words = (*TREE, "--keep-going", "--report-html", "report.html")
    done = site.run(*words, status=1, stderr=".*1 of 3 images failed.*")
    assert "report.html" not in done.stdout
    page = Elements((site.home / "report.html").read_text())
    for text in (
        "Registries",
        "Images by outcome",
        "Failures by cause",
        "Slowest images",
        "image-prepare run",
        site.registry.host,
        "openstack-nova-api:17.1",
        "404",
    ):
        assert text in page.text
    bars = [a for _, a in page.tags if a.get("class") == "bar"]
    assert len(bars) == 1


def test_page_of_a_run_in_a_browser(site: Deployment) -> None:
    """Chromium draws it, logs no console message, and asks nobody."""
    site.run(*TREE, "--report-html", "report.html")
    page = site.home / "report.html"
    shot = site.home / "shot.png"
    done = browse(page, "--window-size=1000,900", f"--screenshot={shot}")
    assert "CONSOLE" not in done.stderr
    assert colours(shot) > 20
    assert "Slowest images" in browse(page, "--dump-dom").stdout


def test_everything_is_escaped(tmp_path: Path) -> None:
    """No text of others becomes an element, in a parser or a browser."""
    row = Row(
        image=f"{EVIL}:1",
        source=f"{EVIL}/x:1",
        destination=EVIL,
        digest=EVIL,
        outcome=ImageOutcome.FAILED,
        seconds=1.5,
        error=f"x: {EVIL}",
    )
    text = html.render(PrepareResult([row], {}), header=[EVIL], dry_run=False)
    page = Elements(text)
    assert not {"script", "img", "link", "iframe"} & {t for t, _ in page.tags}
    assert not re.search(r"(src|href)=", re.sub("&[^;]+;|src=", "", text))
    assert page.text.count("evil.example") >= 5
    path = tmp_path / "page.html"
    path.write_text(text)
    done = browse(path, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert "<script" not in done.stdout


def test_html_and_json_are_two_files(site: Deployment) -> None:
    """One file cannot be both reports; nothing is done."""
    site.run(
        *TREE,
        *("--report", "report", "--report-html", "report"),
        status=2,
        stderr="report: two results cannot be one file\nhint: .*",
    )
