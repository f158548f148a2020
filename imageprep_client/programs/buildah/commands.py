"""What is done with images: the words of the program's command line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.programs.buildah import images
from imageprep_client.programs.buildah.container import Container
from imageprep_client.programs.buildah.images import ListedImage, LocalImage
from imageprep_client.programs.buildah.names import (
    is_abandoned,
    own_name,
    temporary,
)
from imageprep_client.programs.buildah.records import LayerRecords
from imageprep_client.programs.process import Program, end_users

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: What it says of an image or a container that is not there.
_UNKNOWN = ("image not known", "container not known")
_ISOLATION = (
    "inside a container or a virtual machine set BUILDAH_ISOLATION=chroot"
)
_RIGHTS = "run it as root"
#: Parts of its messages, and remedies.
_HINTS = (
    ("cgroups in hybrid mode", _ISOLATION),
    ("creating cgroup", _ISOLATION),
    ("unshare(CLONE_NEW", _ISOLATION),
    ("is not supported over", "set STORAGE_DRIVER=vfs"),
    ("failed to mount overlay", "set STORAGE_DRIVER=vfs"),
    ("no space left on device", "make room in the storage or in TMPDIR"),
    ("not done after", "allow more time with --rpm-timeout"),
    ("permission denied", _RIGHTS),
    ("insufficient UIDs or GIDs", _RIGHTS),
    ("no subuid ranges found", _RIGHTS),
)
#: What buildah takes by default, a good deal faster than 6.
_LEVEL = "5"


class Buildah(Program):
    """Images in local storage; may be used by several threads at once.

    :param program: its name or path.
    :param environment: variables to add to, or replace in, that of this
        process.
    """

    def __init__(
        self,
        program: str = "buildah",
        environment: Mapping[str, str] = _NOTHING,
    ) -> None:
        super().__init__(
            program,
            environment,
            package="buildah",
            error=errors.LocalStorageError,
            hints=_HINTS,
        )
        self._looked = False

    def image(self, name: str) -> LocalImage | None:
        """The image of this name or ID; None when there is none.

        :param name: a short name is completed as buildah does.
        """
        try:
            told = self.json("inspect", "--type", "image", "--", name)
        except errors.LocalStorageError as error:
            if _is_unknown(error):
                return None
            raise
        found = images.inspected(name, told)
        listed = (i for i in self.images() if i.id == found.id)
        names = {each for image in listed for each in image.names}
        return dataclasses.replace(found, names=tuple(sorted(names)))

    def images(self) -> Sequence[ListedImage]:
        """All images that can be used, those without a name as well."""
        told = self.json("images", "--json", "--no-trunc")
        return [
            ListedImage(
                id=str(each["id"]).removeprefix("sha256:"),
                digest=str(each.get("digest") or ""),
                names=tuple(each.get("names") or ()),
                size=str(each.get("size") or ""),
            )
            for each in told or ()
        ]

    def info(self) -> Mapping[str, Any]:
        """What `buildah info` tells of the host and its storage."""
        found: Mapping[str, Any] = self.json("info")
        return found

    def records(self) -> LayerRecords:
        """What the storage recorded of its layers."""
        return LayerRecords(self.info().get("store") or {})

    def check_layers(self, image: LocalImage, name: str) -> bool:
        """Compare the layers of an image with the diff IDs of its config.

        :param name: what messages call it.
        :returns: False when its layers are not known.
        :raises LocalStorageError: when it has other layers.
        """
        recorded = self.records().diff_ids(image.id)
        if recorded not in (None, image.diff_ids):
            raise errors.LocalStorageError(
                f"{name}: the layers in local storage are not those that the"
                " config of the image names",
                hint="the image is damaged or hostile; remove it, and get it"
                " from another place",
            )
        return recorded is not None

    def pull(self, layout: str, reference: str, name: str) -> str:
        """Bring an image from an OCI layout into local storage.

        :param layout: the directory.
        :param reference: the tag or digest in its index.
        :param name: what the image is called then, and nothing else.
        :returns: its ID.
        """
        with temporary(self.environment) as directory:
            # By a tag buildah would find no manifest of docker's types. It
            # calls what it pulls after the directory: nobody else has that.
            token = directory.name
            images.link(Path(layout), reference, directory / token, token)
            told = self.run(
                *("pull", "--quiet", "--", f"oci:{token}"),
                directory=directory,
            )
        identity = told.split()[-1]
        try:
            self.tag(identity, name)
        finally:
            self._forget(identity, token)
        return identity

    def export(self, image: str, layout: str, reference: str) -> None:
        """Write an image into an OCI layout, its layers compressed.

        The same layer gives the same bytes, as long as buildah is the same.
        A layer is left out when there is a blob, of any content, that has
        the digest of its uncompressed form for a name.

        :param image: its name or ID.
        :param layout: the directory, which is there.
        :param reference: its tag in the index.
        """
        # The configuration of the host may have other ideas of compression;
        # and a colon in a path would end it.
        with temporary(self.environment) as directory:
            (directory / "layout").symlink_to(os.path.abspath(layout))
            self.run(
                *("push", "--quiet", "--compression-format", "gzip"),
                *("--compression-level", _LEVEL),
                *("--", image, f"oci:layout:{reference}"),
                directory=directory,
            )

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name, which another image may lose."""
        self.run("tag", "--", image, name)

    def remove(self, *names: str) -> None:
        """Take these names away; those that are not there are fine.

        An image goes with its last name.
        """
        for name in names:
            with _unless_unknown():
                self.run("rmi", "--", name, last=True)

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[Container]:
        """A working container of an image, removed in any case at the end.

        Containers that killed runs left behind are removed first.

        :param image: its name or ID; nothing is pulled.
        """
        self._remove_abandoned()
        name = own_name()
        try:
            self.run("from", "--pull-never", "--name", name, "--", image)
            yield Container(self, name)
        finally:
            self._remove_container(name)

    def _remove_abandoned(self) -> None:
        """Remove the containers of runs that were killed; look once."""
        with self._lock:
            looked, self._looked = self._looked, True
        if looked:
            return
        for each in self.json("containers", "--json") or ():
            name = str(each.get("containername"))
            if is_abandoned(name):
                end_users(name)
                self._remove_container(name)

    def _remove_container(self, name: str) -> None:
        with _unless_unknown():
            self.run("rm", "--", name, last=True)

    def _forget(self, identity: str, token: str) -> None:
        """Take the names with `token` in them from an image."""
        names = (i.names for i in self.images() if i.id == identity)
        mine = (name for each in names for name in each if token in name)
        self.remove(*mine)


def _is_unknown(error: errors.LocalStorageError) -> bool:
    return any(text in str(error) for text in _UNKNOWN)


@contextlib.contextmanager
def _unless_unknown() -> Iterator[None]:
    """Let what is not there be gone."""
    try:
        yield
    except errors.LocalStorageError as error:
        if not _is_unknown(error):
            raise
