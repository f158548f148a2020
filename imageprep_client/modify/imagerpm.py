"""Run the rpm of an image in a working container."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.programs.buildah import Container, Finished, own_name
from imageprep_client.rpm.evr import Evr
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import NOARCH, Change, Installed

#: The directory of the packages, below the directory given to `opened`.
PACKAGES = "rpms"

_FORMAT = r"%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
#: Bytes that rpm may print; the list of a large image has about 100 kB.
_OUTPUT = 16 << 20
#: Seconds that one call of rpm may take by default.
SECONDS = 3600
_ENVIRONMENT = {"LC_ALL": "C"}
_ROOT = "0:0"
# rpm keeps epochs in 32 bits.
_EPOCH = re.compile(r"[0-9]{1,10}")
# "libfoo.so.1()(64bit) is needed by bar-1-1.x86_64", and the same with a
# version behind what is needed.
_NEEDED = re.compile(r"^\s*(\S+)(.*) is needed by (.+)$", re.MULTILINE)
# A line of rpm -V: the differences, the kind and the name of a file.
_DIFFERENCE = re.compile(r"^(missing|\S{8,9}) +(?:([acdglr]) )?(/.*)$")
# Kinds of files that are expected to change: configuration and ghosts.
_CHANGEABLE = "cg"


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one call of rpm; the scriptlets are those of strangers.

    :ivar seconds: the time that it may take.
    :ivar watch: is called while rpm runs; raises an error to end it.
    """

    seconds: float = SECONDS
    watch: Callable[[], object] = lambda: None


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRpm:
    """The rpm of a working container; `opened` makes it.

    :ivar image: the name of the image as the user gave it.
    :ivar place: the directory of the packages in the container; the
        directory of the output is beside it.
    :ivar packages, output: these directories on the host.
    :ivar bounds: the limits of each call.
    """

    container: Container
    image: str
    place: str
    packages: Path
    output: Path
    bounds: Bounds

    def installed(self) -> list[Installed]:
        """List all packages.

        :raises ModifyError: when there is no rpm, or it fails.
        """
        finished = self._rpm("-qa", "--qf", _FORMAT)
        if finished.status and not self._has("/usr/bin/rpm", "/bin/rpm"):
            raise self._without_rpm()
        if finished.status:
            raise self._refusal("cannot list its packages", finished)
        rows = [line.split() for line in finished.stdout.splitlines()]
        for row in rows:
            if len(row) != 5 or not _EPOCH.fullmatch(row[1]):
                raise errors.ModifyError(
                    f"{self.image}: its rpm lists {' '.join(row)[:80]!r},"
                    " which is no package"
                )
        return [
            Installed(name, Evr(int(epoch), version, release), architecture)
            for name, epoch, version, release, architecture in rows
        ]

    def resolve(
        self, changes: Iterable[Change], others: Iterable[RpmFile]
    ) -> tuple[Change, ...]:
        """Add the other packages that the changes depend on.

        Nothing is changed in the container.

        :raises ModifyError: when a dependency is missing, or rpm refuses the
            files.
        """
        chosen, left = list(changes), list(others)
        while (finished := self._upgrade(chosen, "--test")).status:
            needs = _NEEDED.findall(finished.stderr)
            if not needs:
                raise self._refusal("rpm refuses the packages", finished)
            more = _providers([name for name, *_ in needs], left, chosen)
            if not more:
                told = (
                    f"{need}{v} is needed by {by}" for need, v, by in needs
                )
                raise errors.ModifyError(
                    f"{self.image}: packages are missing: {'; '.join(told)}",
                    hint="put packages that provide them into the directory",
                )
            left = [rpm for rpm in left if rpm not in more]
            chosen += [Change(rpm, None) for rpm in more]
        return tuple(sorted(chosen, key=lambda change: str(change.rpm)))

    def upgrade(self, changes: Iterable[Change]) -> list[str]:
        """Install the packages as root.

        :returns: the warnings of rpm, such as those of a failed scriptlet.
        """
        finished = self._upgrade(changes)
        if finished.status:
            raise self._refusal("rpm fails", finished)
        return [
            line.removeprefix("warning: ")
            for line in self._lines(finished.stderr)
            if line.startswith("warning: ")
        ]

    def differences(self, changes: Iterable[Change]) -> list[str]:
        """List the files of changed packages that differ from the package.

        Owner, mode and times may differ, because images change them on
        purpose. Modified configuration files are kept by rpm.
        """
        names = (f"{c.rpm.name}.{c.rpm.architecture}" for c in changes)
        finished = self._rpm("-V", "--nodeps", "--noscripts", *names)
        if not finished.status:
            return []
        lines = finished.stdout.splitlines()
        differing = [
            match for line in lines if (match := _DIFFERENCE.match(line))
        ]
        if not differing:
            raise self._refusal("cannot verify its packages", finished)
        return [
            f"{path} {'is missing' if how == 'missing' else 'differs'}"
            for how, kind, path in (match.groups() for match in differing)
            if (kind or "-") not in _CHANGEABLE
            and (how == "missing" or {"5", "L"} & set(how))
        ]

    def tidy(self) -> None:
        """Remove the mount points that running rpm left in the container."""
        with self.container.mount() as root:
            for name in (self.place, f"{self.place}.out"):
                try:
                    (root / name[1:]).rmdir()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise errors.ModifyError(
                        f"{self.image}: {name}: cannot be removed:"
                        f" {errors.reason(error)}"
                    ) from error

    def _upgrade(self, changes: Iterable[Change], *options: str) -> Finished:
        names = (change.rpm.file_name for change in changes)
        paths = (f"{self.place}/{name}" for name in names)
        return self._rpm("-U", *options, *paths)

    def _rpm(self, *words: str) -> Finished:
        """Run rpm as root.

        The output goes through files, because buildah sometimes loses output
        of a pipe with isolation chroot. The image controls the directory of
        these files: each call has a new one, and only regular files are read
        there, up to a limit.
        """
        out = f"{self.place}.out"
        run = f'exec rpm "$@" >{out}/stdout 2>{out}/stderr'
        with tempfile.TemporaryDirectory(
            dir=self.output, ignore_cleanup_errors=True
        ) as directory:
            finished = self.container.attempt(
                *("/bin/sh", "-c", run, "rpm", *words),
                # SELinux denies the container access without the z.
                volumes=[
                    f"{self.packages}:{self.place}:ro,z",
                    f"{directory}:{out}:z",
                ],
                user=_ROOT,
                env=_ENVIRONMENT,
                timeout=self.bounds.seconds,
                watch=self.bounds.watch,
            )
            stdout, stderr = (
                self._printed(directory, name) for name in ("stdout", "stderr")
            )
        if stdout is None or stderr is None:
            raise self._without_shell()
        return Finished(finished.status, stdout, stderr)

    def _printed(self, directory: str, name: str) -> str | None:
        """Read a file with output; None if it is not a regular file."""
        printed = ReadableDirectory(directory).read(name, _OUTPUT + 1)
        if printed is None:
            return None
        if len(printed) > _OUTPUT:
            raise errors.ModifyError(
                f"{self.image}: its rpm prints more than {_OUTPUT} bytes"
            )
        return printed.decode(errors="replace")

    def _without_shell(self) -> errors.ImagePrepError:
        """The reason why nothing can be run in the image."""
        if not self._has("/bin/sh"):
            return self._without_rpm()
        try:
            self.container.run("/bin/sh", "-c", "exit 0", user=_ROOT)
        except errors.LocalStorageError as error:
            return error
        return errors.ModifyError(f"{self.image}: cannot run its rpm")

    def _has(self, *paths: str) -> bool:
        return any(map(self.container.has, paths))

    def _without_rpm(self) -> errors.ModifyError:
        return errors.ModifyError(
            f"{self.image}: has no rpm, and so no packages to replace",
            hint="build an image of your own on it",
        )

    def _refusal(self, what: str, finished: Finished) -> errors.ModifyError:
        lines = self._lines(finished.stderr) or self._lines(finished.stdout)
        told = "; ".join(lines) or f"exit status {finished.status}"
        return errors.ModifyError(f"{self.image}: {what}: {told}")

    def _lines(self, told: str) -> list[str]:
        """The messages of rpm, or all messages if there are none of rpm."""
        told = told.replace(f"{self.place}/", "")
        lines = [line for line in told.splitlines() if line.strip()]
        own = [x for x in lines if x.startswith(("error:", "warning:", "\t"))]
        return [line.strip() for line in own or lines]


@contextlib.contextmanager
def opened(
    container: Container, image: str, directory: str, bounds: Bounds
) -> Iterator[ImageRpm]:
    """Give the rpm of a container access to the packages.

    :param directory: a private directory; the packages are in `PACKAGES`
        below it, named by their `RpmFile.file_name`.
    """
    place = f"/.{own_name()}"
    with tempfile.TemporaryDirectory(
        dir=directory, ignore_cleanup_errors=True
    ) as output:
        packages = Path(directory, PACKAGES)
        yield ImageRpm(container, image, place, packages, Path(output), bounds)


def _providers(
    needs: Iterable[str], rpms: Iterable[RpmFile], chosen: Iterable[Change]
) -> set[RpmFile]:
    """One package for each need, of a chosen architecture if possible."""
    known = {change.rpm.architecture for change in chosen}
    known.add(NOARCH)
    preferred = sorted(rpms, key=lambda rpm: rpm.architecture not in known)
    return {
        rpm
        for need in needs
        for rpm in [next((r for r in preferred if need in r.provides), None)]
        if rpm
    }
