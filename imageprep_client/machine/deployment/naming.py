"""The names of the images of a deployment's services."""

from __future__ import annotations

import dataclasses
import re
import string

from imageprep_client import errors
from imageprep_client.oci.platform import architecture

_SERVICE = "service"
_FIELDS = (_SERVICE, "release", "distro", "arch")
#: Fields that hosts have to be asked for.
_FACTS = ("distro", "arch")
_WORD = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclasses.dataclass(frozen=True, slots=True)
class HostFacts:
    """The values that the name of an image may depend on.

    :ivar distro: as in /etc/os-release, such as ``debian``.
    :ivar arch: such as ``amd64``.
    """

    distro: str = ""
    arch: str = ""

    @classmethod
    def parse(cls, distro: str, machine: str) -> HostFacts:
        """From what a host says about itself.

        :raises InvalidContent: when these cannot be in the name of an image.
        """
        arch = architecture(machine)
        for word in (distro, arch):
            if not _WORD.fullmatch(word):
                raise errors.InvalidContent(
                    f"{word[:100]!r} is no name of a distribution or an"
                    " architecture"
                )
        return cls(distro, arch)


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTemplate:
    """A name with fields, such as ``registry:5000/osa/{service}:{release}``.

    :ivar release: the value of ``{release}``.
    """

    text: str
    release: str = ""

    @classmethod
    def parse(
        cls, text: str, release: str | None, *, is_base: bool = False
    ) -> ImageTemplate:
        """Read a template.

        :param is_base: whether it names a base, which has no service.
        :raises InvalidArgument: for unknown fields, or without the service
            or a release that is needed.
        """
        known = [
            field for field in _FIELDS if field != _SERVICE or not is_base
        ]
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise errors.InvalidArgument(
                f"{text}: {str(error).lower()}"
            ) from None
        fields = [field for _, field, *_ in parsed if field is not None]
        for _, field, form, conversion in parsed:
            if form or conversion or field not in (None, *known):
                raise errors.InvalidArgument(
                    f"{text}: {{{field}}} is not known",
                    hint="known are "
                    + ", ".join(f"{{{name}}}" for name in known),
                )
        if _SERVICE not in fields and not is_base:
            raise errors.InvalidArgument(
                f"{text}: all services would have one image",
                hint="name them by {service}, such as"
                " registry.example/osa/{service}:{release}",
            )
        if "release" in fields and not release:
            raise errors.InvalidArgument(
                f"{text}: the release is not known", hint="give --release"
            )
        return cls(text, release or "")

    @property
    def needs_facts(self) -> bool:
        """Whether the name depends on the host."""
        return any(f"{{{field}}}" in self.text for field in _FACTS)

    def name(self, service: str, facts: HostFacts) -> str:
        """The name of the image of a service, or of the base, on a host."""
        return self.text.format(
            service=service,
            release=self.release,
            distro=facts.distro,
            arch=facts.arch,
        )
