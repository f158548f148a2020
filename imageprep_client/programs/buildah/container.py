"""Working containers: images that are being changed."""

from __future__ import annotations

import contextlib
import io
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.programs.process import Finished, Program

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: Bytes that `Container.read` reads at most.
_READABLE = 16 << 20


class Container:
    """A working container; `Buildah.container` makes and removes it.

    :ivar name: what buildah calls it.
    """

    def __init__(self, buildah: Program, name: str) -> None:
        self.name = name
        self._buildah = buildah

    def run(
        self,
        *command: str,
        volumes: Sequence[str] = (),
        user: str | None = None,
        env: Mapping[str, str] = _NOTHING,
    ) -> str:
        """Run a command in it.

        :param volumes: ``directory:where[:ro]``.
        :param user: by default that of the image.
        :param env: others on this host can see it; no secrets.
        :returns: what it printed; with isolation chroot, buildah 1.28 on a
            busy host now and then loses that. What must not be lost goes
            through a file in a volume.
        :raises LocalStorageError: when it fails, with what it complained.
        """
        words = self._words(command, volumes, user, env)
        return self._buildah.run(*words)

    def attempt(
        self,
        *command: str,
        volumes: Sequence[str] = (),
        user: str | None = None,
        env: Mapping[str, str] = _NOTHING,
        timeout: float | None = None,
        watch: Callable[[], object] = lambda: None,
    ) -> Finished:
        """As `run`, for a command that may fail.

        :param timeout, watch: as for `Program.attempt`.
        :returns: its result; failures of buildah itself look the same.
        :raises LocalStorageError: when buildah cannot be started, takes
            longer than `timeout`, or is ended by `Buildah.stop`.
        """
        words = self._words(command, volumes, user, env)
        return self._buildah.attempt(*words, timeout=timeout, watch=watch)

    def _words(
        self,
        command: Sequence[str],
        volumes: Sequence[str],
        user: str | None,
        env: Mapping[str, str],
    ) -> list[str]:
        words = [f"--volume={each}" for each in volumes]
        words += [f"--env={key}={value}" for key, value in env.items()]
        if user is not None:
            words.append(f"--user={user}")
        return ["run", *words, "--", self.name, *command]

    @contextlib.contextmanager
    def mount(self) -> Iterator[Path]:
        """Its root directory, as long as the context lasts.

        Links in it lead where the image wants: follow none, see `read`.
        """
        told = self._buildah.run("mount", self.name)
        try:
            yield Path(told.strip())
        finally:
            self._buildah.run("umount", self.name, last=True)

    def read(self, path: str, limit: int = _READABLE) -> bytes | None:
        """A regular file in it; links are followed, but never out of it.

        :returns: None when there is no such file, or something else.
        :raises LocalStorageError: when it has more bytes than `limit`.
        """
        with self._open(path) as file:
            data = io.BufferedReader(file).read(limit + 1) if file else None
        if data is not None and len(data) > limit:
            raise errors.LocalStorageError(
                f"{path}: has more than {limit} bytes"
            )
        return data

    def has(self, path: str) -> bool:
        """Whether `path` is a regular file in it; it is not read."""
        with self._open(path) as file:
            return file is not None

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[io.FileIO | None]:
        with self.mount() as root:
            try:
                # Whatever replaces a part of the path meanwhile, no link is
                # followed any more, and no pipe or device is opened.
                inside = _within(root, path).relative_to(root)
                file = ReadableDirectory(root).open_regular(str(inside))
            except (FileNotFoundError, NotADirectoryError):
                file = None
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise errors.LocalStorageError(f"{path}: {reason}") from error
            if file is None:
                yield None
                return
            with file:
                yield file

    def config(
        self,
        *,
        user: str | None = None,
        labels: Mapping[str, str] = _NOTHING,
    ) -> None:
        """Set what the image made of it says.

        :param user: who its processes run as; empty for root.
        """
        words = [f"--label={key}={value}" for key, value in labels.items()]
        if user is not None:
            words.append(f"--user={user}")
        if words:
            self._buildah.run("config", *words, self.name)

    def commit(self, name: str, /, **labels: str) -> str:
        """Make an image of it: one layer more, and these labels.

        :returns: its ID.
        """
        self.config(labels=labels)
        told = self._buildah.run("commit", "--quiet", "--", self.name, name)
        return told.split()[-1]


def _within(root: Path, path: str) -> Path:
    """Where `path` leads when `root` is the root of all links."""
    parts = [part for part in reversed(path.split("/")) if part]
    found: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part in (".", ".."):
            del found[len(found) - (part == "..") :]
            continue
        here = root.joinpath(*found, part)
        if not here.is_symlink():
            found.append(part)
            continue
        links += 1
        if links > 40:
            raise FileNotFoundError(path)
        target = os.readlink(here)
        if target.startswith("/"):
            found.clear()
        parts.extend(p for p in reversed(target.split("/")) if p)
    return root.joinpath(*found)
