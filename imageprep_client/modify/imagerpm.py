"""The rpm of an image, at work in a container of it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.programs.buildah import Container, Finished, own_name
from imageprep_client.rpm.evr import Evr
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import NOARCH, Change, Installed

#: The directory of the packages, below that which `opened` is given.
PACKAGES = "rpms"

_FORMAT = r"%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
#: Bytes that rpm may print; the list of a large image has some 100 kB.
_OUTPUT = 16 << 20
_ENVIRONMENT = {"LC_ALL": "C"}
_ROOT = "0:0"
# rpm keeps epochs in 32 bits.
_EPOCH = re.compile(r"[0-9]{1,10}")
# "libfoo.so.1()(64bit) is needed by bar-1-1.x86_64", and the same with a
# version behind what is needed.
_NEEDED = re.compile(r"^\s*(\S+)(.*) is needed by (.+)$", re.MULTILINE)
# What rpm -V says of a file: what differs, its kind, its name.
_DIFFERENCE = re.compile(r"^(missing|\S{8,9}) +(?:([acdglr]) )?(/.*)$")
# Files that are made to be changed: configuration, and ghosts.
_CHANGEABLE = "cg"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRpm:
    """The rpm of a working container; `opened` makes it.

    :ivar image: what the user calls the image.
    :ivar place: where the packages are in the container; where output goes
        is beside it.
    :ivar packages, output: the same on the host.
    """

    container: Container
    image: str
    place: str
    packages: Path
    output: Path

    def installed(self) -> list[Installed]:
        """All packages.

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
        """The changes, and those others that they need; nothing is changed.

        :raises ModifyError: when needs are unmet, or rpm refuses the files.
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
        """Install, as root.

        :returns: the warnings of rpm, such as of a scriptlet that failed.
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
        """The files of changed packages that are not as packaged.

        Owner, mode and times may differ, as an image has its own reasons
        for these; and configuration that was changed is kept by rpm.
        """
        names = (f"{c.rpm.name}.{c.rpm.architecture}" for c in changes)
        finished = self._rpm("-V", "--nodeps", "--noscripts", *names)
        if not finished.status:
            return []
        lines = finished.stdout.splitlines()
        found = [match for line in lines if (match := _DIFFERENCE.match(line))]
        if not found:
            raise self._refusal("cannot verify its packages", finished)
        return [
            f"{path} {'is missing' if how == 'missing' else 'differs'}"
            for how, kind, path in (match.groups() for match in found)
            if (kind or "-") not in _CHANGEABLE
            and (how == "missing" or {"5", "L"} & set(how))
        ]

    def tidy(self) -> None:
        """Remove what is in the container only because rpm was run."""
        # Where directories were mounted; nothing was written there.
        with self.container.mount() as root:
            for name in (self.place, f"{self.place}.out"):
                try:
                    (root / name[1:]).rmdir()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise errors.ModifyError(
                        f"{self.image}: {name}: cannot be removed:"
                        f" {(error.strerror or str(error)).lower()}"
                    ) from error

    def _upgrade(self, changes: Iterable[Change], *options: str) -> Finished:
        names = (change.rpm.file_name for change in changes)
        paths = (f"{self.place}/{name}" for name in names)
        return self._rpm("-U", *options, *paths)

    def _rpm(self, *words: str) -> Finished:
        """Run rpm as root.

        Its output goes through files: with isolation chroot, buildah now and
        then loses what comes through a pipe. The image decides what is in
        their directory: each call has a fresh one, and nothing but regular
        files is read there, up to a limit.
        """
        out = f"{self.place}.out"
        run = f'exec rpm "$@" >{out}/stdout 2>{out}/stderr'
        with tempfile.TemporaryDirectory(
            dir=self.output, ignore_cleanup_errors=True
        ) as directory:
            finished = self.container.attempt(
                *("/bin/sh", "-c", run, "rpm", *words),
                # Without the z a host with SELinux denies them to the
                # container.
                volumes=[
                    f"{self.packages}:{self.place}:ro,z",
                    f"{directory}:{out}:z",
                ],
                user=_ROOT,
                env=_ENVIRONMENT,
            )
            stdout, stderr = (
                self._printed(directory, name) for name in ("stdout", "stderr")
            )
        if stdout is None or stderr is None:
            raise self._without_shell()
        return Finished(finished.status, stdout, stderr)

    def _printed(self, directory: str, name: str) -> str | None:
        """A file with output; None when there is no regular file."""
        printed = ReadableDirectory(directory).read(name, _OUTPUT + 1)
        if printed is None:
            return None
        if len(printed) > _OUTPUT:
            raise errors.ModifyError(
                f"{self.image}: its rpm prints more than {_OUTPUT} bytes"
            )
        return printed.decode(errors="replace")

    def _without_shell(self) -> errors.ImagePrepError:
        """Why nothing can be run in it."""
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
        """What rpm said; without what else was said meanwhile, if it did."""
        told = told.replace(f"{self.place}/", "")
        lines = [line for line in told.splitlines() if line.strip()]
        own = [x for x in lines if x.startswith(("error:", "warning:", "\t"))]
        return [line.strip() for line in own or lines]


@contextlib.contextmanager
def opened(
    container: Container, image: str, directory: str
) -> Iterator[ImageRpm]:
    """The rpm of a container, which can read packages meanwhile.

    :param directory: private; the packages are in `PACKAGES` in it, by
        their `RpmFile.file_name`.
    """
    place = f"/.{own_name()}"
    with tempfile.TemporaryDirectory(
        dir=directory, ignore_cleanup_errors=True
    ) as output:
        packages = Path(directory, PACKAGES)
        yield ImageRpm(container, image, place, packages, Path(output))


def _providers(
    needs: Iterable[str], rpms: Iterable[RpmFile], chosen: Iterable[Change]
) -> set[RpmFile]:
    """One package for each need, preferably of an architecture chosen."""
    known = {change.rpm.architecture for change in chosen}
    known.add(NOARCH)
    preferred = sorted(rpms, key=lambda rpm: rpm.architecture not in known)
    return {
        rpm
        for need in needs
        for rpm in [next((r for r in preferred if need in r.provides), None)]
        if rpm
    }
