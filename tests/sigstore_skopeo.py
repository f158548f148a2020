"""A skopeo that evaluates sigstore signatures.

That of Debian bookworm is built without. Where the host has such a one, the
one of the next release is fetched with apt and run beside it, with its own
libraries; nothing is installed. It is kept beside the environments that
``tools/check`` makes.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests import programs

_RELEASE = "trixie"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR = "http://deb.debian.org/debian"
_SOURCE = f"deb [signed-by={_KEYRING}] {_MIRROR} {_RELEASE} main\n"
_PACKAGES = (
    "skopeo",
    "libassuan9",
    "libc6",
    "libgpg-error0",
    "libgpgme11t64",
    "libsqlite3-0",
)
_SECONDS = 300


@functools.cache
def command() -> tuple[str, ...]:
    """The words that run it.

    :raises RuntimeError: when there is none and none can be had; says why.
    """
    own = shutil.which("skopeo")
    if own and _knows_sigstore([own]):
        return (own,)
    directory = _directory()
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        # Several workers may come at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = directory / "root"
        if not root.exists():
            _fetch(directory)
        (loader,) = root.glob("usr/lib/*/ld-linux*.so.*")
        found = (
            *(str(loader), "--library-path", str(loader.parent)),
            str(root / "usr/bin/skopeo"),
        )
    if not _knows_sigstore(found):
        raise RuntimeError(f"{directory}: its skopeo does not run; remove it")
    return found


def _directory() -> Path:
    top = Path(__file__).parents[1]
    return Path(os.environ.get("TOX_WORK_DIR") or top, ".venv-skopeo")


def _knows_sigstore(program: Sequence[str]) -> bool:
    """Whether it makes a key of sigstore's; others lack the command."""
    with tempfile.TemporaryDirectory() as directory:
        passphrase = Path(directory, "passphrase")
        passphrase.write_text("\n")
        done = subprocess.run(
            [
                *(*program, "generate-sigstore-key"),
                *("--output-prefix", f"{directory}/key"),
                *("--passphrase-file", str(passphrase)),
            ],
            check=False,
            capture_output=True,
        )
        return done.returncode == 0 and Path(directory, "key.pub").exists()


def _fetch(directory: Path) -> None:
    """Fetch the packages with an apt of their own, and unpack them."""
    if not shutil.which("apt-get") or not Path(_KEYRING).exists():
        raise RuntimeError(
            "the tests need a skopeo that was built with sigstore, or apt of"
            " Debian to fetch one"
        )
    for name in ("state/lists/partial", "cache/archives/partial", "packages"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(_SOURCE)
    (directory / "apt.conf").write_text(
        f"""
        Dir::Etc::sourcelist "{directory}/sources.list";
        Dir::Etc::sourceparts "-";
        Dir::State "{directory}/state";
        Dir::State::status "{directory}/status";
        Dir::Cache "{directory}/cache";
        APT::Sandbox::User "root";
        """
    )
    environment = {**os.environ, "APT_CONFIG": str(directory / "apt.conf")}
    new = directory / "root.new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        for words in (
            ["apt-get", "update", "--error-on=any"],
            ["apt-get", "download", *_PACKAGES],
        ):
            _run(words, directory / "packages", environment)
        for package in (directory / "packages").glob("*.deb"):
            _run(["dpkg-deb", "-x", str(package), str(new)], directory)
    except subprocess.SubprocessError as error:
        told = getattr(error, "stderr", None) or str(error)
        raise RuntimeError(
            f"no skopeo with sigstore can be fetched from Debian {_RELEASE}:"
            f" {told.strip()}"
        ) from None
    for name in ("state", "cache", "packages"):
        shutil.rmtree(directory / name)
    new.rename(directory / "root")


def _run(
    words: Sequence[str],
    directory: Path,
    environment: dict[str, str] | None = None,
) -> None:
    programs.run(*words, cwd=directory, env=environment, timeout=_SECONDS)
