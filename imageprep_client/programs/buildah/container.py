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

    :ivar name: its name in buildah.
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
        """Run a command in the container.

        :param volumes: ``directory:mount point[:ro]``.
        :param user: by default that of the image.
        :param env: variables without secrets; others on this host see them.
        :returns: its output. buildah 1.28 sometimes loses it with isolation
            chroot on a busy host: use a file in a volume for output that must
            not be lost.
        :raises LocalStorageError: when it fails, with its messages.
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
        words = [f"--volume={volume}" for volume in volumes]
        words += [f"--env={key}={value}" for key, value in env.items()]
        if user is not None:
            words.append(f"--user={user}")
        return ["run", *words, "--", self.name, *command]

    @contextlib.contextmanager
    def mount(self) -> Iterator[Path]:
        """Mount its root directory for the context.

        The image controls where links lead: do not follow them, see `read`.
        """
        told = self._buildah.run("mount", self.name)
        try:
            yield Path(told.strip())
        finally:
            self._buildah.run("umount", self.name, last=True)

    def read(self, path: str, limit: int = _READABLE) -> bytes | None:
        """Read a regular file; links are followed only inside the root.

        :returns: None if the path is not a regular file.
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
        """Whether `path` is a regular file in the container."""
        with self._open(path) as file:
            return file is not None

    @contextlib.contextmanager
    def _open(self, path: str) -> Iterator[io.FileIO | None]:
        with self.mount() as root:
            try:
                # From here on no link is followed and no pipe or device is
                # opened, even if a part of the path is replaced meanwhile.
                inside = _within(root, path).relative_to(root)
                file = ReadableDirectory(root).open_regular(str(inside))
            except (FileNotFoundError, NotADirectoryError):
                file = None
            except OSError as error:
                raise errors.LocalStorageError(
                    f"{path}: {errors.reason(error)}"
                ) from error
            if file is None:
                yield None
                return
            with file:
                yield file

    def commit(self, name: str, /, **labels: str) -> str:
        """Make an image with one more layer and with these labels.

        :returns: the ID of the image.
        """
        if labels:
            words = [f"--label={key}={value}" for key, value in labels.items()]
            self._buildah.run("config", *words, self.name)
        told = self._buildah.run("commit", "--quiet", "--", self.name, name)
        return told.split()[-1]


def _within(root: Path, path: str) -> Path:
    """Resolve `path` with `root` as the root directory of all links."""
    parts = [part for part in reversed(path.split("/")) if part]
    resolved: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part in (".", ".."):
            del resolved[len(resolved) - (part == "..") :]
            continue
        here = root.joinpath(*resolved, part)
        if not here.is_symlink():
            resolved.append(part)
            continue
        links += 1
        if links > 40:
            raise FileNotFoundError(path)
        target = os.readlink(here)
        if target.startswith("/"):
            resolved.clear()
        parts.extend(p for p in reversed(target.split("/")) if p)
    return root.joinpath(*resolved)
