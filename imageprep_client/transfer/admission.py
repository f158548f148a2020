"""Admission: whether an image may be brought to a destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base


class Admits(Protocol):
    """Decides whether one image may be stored."""

    def admit(
        self, source: base.ReadableStore, manifests: Sequence[Descriptor]
    ) -> str:
        """Return only if the image may be stored.

        Called before anything of the image is written, by several threads
        for several images.

        :param source: the repository that it is read from.
        :param manifests: the manifest that will be tagged and, where that is
            an index, those of its images that are copied.
        :returns: the reason, such as the key that signed it.
        :raises ImagePrepError: when it may not.
        """
        ...
