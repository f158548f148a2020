"""Packages that rpmbuild makes, and repositories that createrepo_c makes."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path

from tests import programs


@dataclasses.dataclass(frozen=True)
class Package:
    """The properties of a package.

    It has one file, /usr/share/NAME/version, with its version in it: of
    another length and another time for each version, since what compares
    no more than these takes the layer below for the same.

    :ivar arch: ``noarch`` or a platform's name; any can be built.
    :ivar post: a scriptlet that is run when it was installed.
    """

    name: str = "keystone-demo"
    version: str = "1.0"
    release: str = "1"
    arch: str = "noarch"
    requires: tuple[str, ...] = ()
    post: str = ""

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self}.rpm"

    @property
    def path(self) -> str:
        """Where its file is when it is installed."""
        return f"/usr/share/{self.name}/version"

    def __str__(self) -> str:
        return f"{self.name}-{self.version}-{self.release}.{self.arch}"

    @property
    def content(self) -> str:
        """The content of its file, which the shell can print."""
        return f"{self} " + "x" * (sum(map(ord, str(self))) % 997)

    def spec(self) -> str:
        """As rpmbuild takes it."""
        requires = "".join(f"Requires: {each}\n" for each in self.requires)
        post = f"%post -p /bin/sh\n{self.post}\n" if self.post else ""
        noarch = "BuildArch: noarch\n" if self.arch == "noarch" else ""
        day = sum(map(ord, str(self))) % 5000 + 1
        root = "%{buildroot}"
        return (
            f"Name: {self.name}\nVersion: {self.version}\n"
            f"Release: {self.release}\nSummary: For tests\nLicense: none\n"
            f"AutoReqProv: no\n{noarch}{requires}"
            f"%description\nFor tests.\n%install\n"
            f"mkdir -p {root}/usr/share/{self.name}\n"
            f"echo '{self.content}' > {root}{self.path}\n"
            f"touch -d @{day * 86400} {root}{self.path}\n"
            f"{post}%files\n{self.path}\n"
        )


#: What the images of tests/rpm_images.py have, and what is newer.
OLD = Package()
NEW = Package(version="1.1")
#: A platform that is not this one, whichever it is.
FOREIGN = Package(version="1.1", arch="s390x")


def build(directory: Path, *packages: Package) -> Path:
    """Build packages into a directory, which is made.

    :returns: the file of the last one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for package in packages:
        path = directory / package.file_name
        path.write_bytes(_built(package.spec(), package.arch))
    return path


@functools.cache
def _built(spec: str, arch: str) -> bytes:
    """The package of a spec file; rpmbuild makes each one once."""
    assert shutil.which("rpmbuild"), "no rpmbuild; see tools/check"
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        (top / "spec").write_text(spec)
        programs.run(
            *("rpmbuild", "-bb", "--quiet", f"--target={arch}-linux"),
            *("--define", f"_topdir {top}"),
            *("--define", f"_dbpath {top}/db"),
            *("--define", f"_rpmdir {top}"),
            *("--define", "_rpmfilename package"),
            *("--define", "_build_id_links none"),
            str(top / "spec"),
        )
        return (top / "package").read_bytes()


def broken(directory: Path) -> Path:
    """Build a package, and damage what comes after its headers."""
    path = build(directory, NEW)
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    return path


def repository(directory: Path, *packages: Package) -> Path:
    """Build packages, and make a repository of them.

    :returns: the directory.
    """
    if packages:
        build(directory, *packages)
    directory.mkdir(parents=True, exist_ok=True)
    programs.run("createrepo_c", "--quiet", "--no-database", str(directory))
    return directory


@dataclasses.dataclass(frozen=True)
class Gerrit:
    """A directory of git repositories that stands for Gerrit.

    :ivar url: what projects are below.
    """

    directory: Path

    @property
    def url(self) -> str:
        """Where its projects are."""
        return f"file://{self.directory}"

    def change(self, project: str, number: int, files: dict[str, str]) -> str:
        """Put a change up for review: one commit with these files.

        :param project: such as ``openstack/keystone``; made when missing.
        :returns: its refspec.
        """
        repository = self.directory / project
        refspec = f"refs/changes/{number % 100:02}/{number}/1"
        if not repository.exists():
            _git("init", "--quiet", "--bare", str(repository))
        with tempfile.TemporaryDirectory() as temporary:
            for path, content in files.items():
                target = Path(temporary, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(content)
            at = ("-C", temporary)
            _git(*at, "init", "--quiet")
            _git(*at, "add", ".")
            _git(*at, *_AUTHOR, "commit", "--quiet", "--message", refspec)
            _git(*at, "push", "--quiet", str(repository), f"HEAD:{refspec}")
        return refspec


_AUTHOR = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")


def python_project(name: str, version: str, answer: str) -> dict[str, str]:
    """The files of a project whose module says `answer`.

    :param name: of the distribution, and of the module but for hyphens; it
        has a program of that name, too.
    """
    module = name.replace("-", "_")
    return {
        "setup.py": "import setuptools\n\nsetuptools.setup()\n",
        "setup.cfg": (
            f"[metadata]\nname = {name}\nversion = {version}\n"
            f"[options]\npackages = {module}\n"
            f"[options.entry_points]\n"
            f"console_scripts =\n    {name} = {module}:main\n"
        ),
        f"{module}/__init__.py": (f"def main():\n    print({answer!r})\n"),
    }


def _git(*words: str) -> None:
    programs.run("git", *words)
