"""The operations on images, by the command line of buildah."""

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
#: Messages about an image or a container that does not exist.
_UNKNOWN = ("image not known", "container not known")
_ISOLATION = (
    "inside a container or a virtual machine set BUILDAH_ISOLATION=chroot"
)
_RIGHTS = "run it as root"
#: Parts of messages, and the remedies.
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
#: The default of buildah, which is much faster than 6.
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
        """The image with this name or ID; None if there is none.

        :param name: buildah completes a short name.
        """
        try:
            told = self.json("inspect", "--type", "image", "--", name)
        except errors.LocalStorageError as error:
            if _is_unknown(error):
                return None
            raise
        inspected = images.inspected(name, told)
        listed = (i for i in self.images() if i.id == inspected.id)
        names = {name for image in listed for name in image.names}
        return dataclasses.replace(inspected, names=tuple(sorted(names)))

    def images(self) -> Sequence[ListedImage]:
        """All usable images, including those without a name."""
        told = self.json("images", "--json", "--no-trunc")
        return [
            ListedImage(
                id=str(image["id"]).removeprefix("sha256:"),
                digest=str(image.get("digest") or ""),
                names=tuple(image.get("names") or ()),
                size=str(image.get("size") or ""),
            )
            for image in told or ()
        ]

    def info(self) -> Mapping[str, Any]:
        """The output of `buildah info` about the host and its storage."""
        told: Mapping[str, Any] = self.json("info")
        return told

    def records(self) -> LayerRecords:
        """The records of the storage about its layers."""
        return LayerRecords(self.info().get("store") or {})

    def check_layers(self, image: LocalImage, name: str) -> bool:
        """Compare the layers of an image with the diff IDs of its config.

        :param name: the name of the image in messages.
        :returns: False if its layers are not known.
        :raises LocalStorageError: when it has other layers.
        """
        recorded = self.records().diff_ids(image.id)
        if recorded not in (None, image.diff_ids):
            raise errors.LocalStorageError(
                f"{name}: the layers in local storage do not match the config"
                " of the image",
                hint="the image is damaged or hostile; remove it, and get it"
                " from another source",
            )
        return recorded is not None

    def pull(self, layout: str, reference: str, name: str) -> str:
        """Copy an image from an OCI layout into local storage.

        :param layout: the directory.
        :param reference: the tag or digest in its index.
        :param name: the only name of the image in local storage.
        :returns: the ID of the image.
        """
        with temporary(self.environment) as directory:
            # By a tag, buildah finds no manifest with a docker media type.
            # The name is that of the directory, which is unique.
            token = directory.name
            images.link(Path(layout), reference, directory / token, token)
            told = self.run(
                *("pull", "--quiet", "--", f"oci:{token}"), directory=directory
            )
        identity = told.split()[-1]
        try:
            self.tag(identity, name)
        finally:
            self._forget(identity, token)
        return identity

    def export(self, image: str, layout: str, reference: str) -> None:
        """Write an image into an OCI layout, its layers compressed.

        The same layer gives the same bytes with the same release of buildah.
        A layer is skipped if a blob, of any content, is named with the digest
        of the uncompressed layer.

        :param image: its name or ID.
        :param layout: an existing directory.
        :param reference: its tag in the index.
        """
        # The configuration of the host may set another compression, and a
        # colon would end the path.
        with temporary(self.environment) as directory:
            (directory / "layout").symlink_to(os.path.abspath(layout))
            self.run(
                *("push", "--quiet", "--compression-format", "gzip"),
                *("--compression-level", _LEVEL),
                *("--", image, f"oci:layout:{reference}"),
                directory=directory,
            )

    def tag(self, image: str, name: str) -> None:
        """Add a name to an image; another image with it loses the name."""
        self.run("tag", "--", image, name)

    def remove(self, *names: str) -> None:
        """Remove these names; names that do not exist are ignored.

        An image is removed with its last name.
        """
        for name in names:
            with _unless_unknown():
                self.run("rmi", "--", name, last=True)

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[Container]:
        """Make a working container of an image, and remove it at the end.

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
        """Remove the containers of killed runs; look for them only once."""
        with self._lock:
            looked, self._looked = self._looked, True
        if looked:
            return
        for container in self.json("containers", "--json") or ():
            name = str(container.get("containername"))
            if is_abandoned(name):
                end_users(name)
                self._remove_container(name)

    def _remove_container(self, name: str) -> None:
        with _unless_unknown():
            self.run("rm", "--", name, last=True)

    def _forget(self, identity: str, token: str) -> None:
        """Remove the names that contain `token` from an image."""
        same = (image for image in self.images() if image.id == identity)
        names = (name for image in same for name in image.names)
        self.remove(*(name for name in names if token in name))


def _is_unknown(error: errors.LocalStorageError) -> bool:
    return any(text in str(error) for text in _UNKNOWN)


@contextlib.contextmanager
def _unless_unknown() -> Iterator[None]:
    """Ignore that an image or a container does not exist."""
    try:
        yield
    except errors.LocalStorageError as error:
        if not _is_unknown(error):
            raise
