"""The releases, and the catalog of each."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.catalog.table import ReleaseTable
from imageprep_client.catalog.table_image import ImageTable, TableImage

#: The release that is used when none is named.
DEFAULT_RELEASE = "master"

#: Versions of Red Hat OpenStack Platform, by which users know releases.
_PRODUCTS = {
    "13": "queens",
    "14": "rocky",
    "15": "stein",
    "16": "train",
    "17": "wallaby",
}
_RELEASES = (
    "queens",
    "rocky",
    "stein",
    "train",
    "ussuri",
    "victoria",
    "wallaby",
    "zed",
    "master",
)
_WITH_OPENDAYLIGHT = frozenset({"queens", "rocky", "stein", "train"})
# In these releases a tag in set wins over tag_from_label.
_TAG_WINS = frozenset({"victoria", "wallaby", "zed"})
_DATA = pathlib.Path(__file__).with_name("data")
# Every image name of a release needs these. The others belong to images that
# a deployment may not need, such as those of Ceph.
_INDISPENSABLE = ("namespace", "tag")
# Conditions of any release. An environment may have them for a release in
# which they make no difference. default_tag makes none in any release: the
# predecessor's command for the default wrote it in 2020.
_SWITCHES = frozenset(
    {
        "ceph_images",
        "default_tag",
        "logging",
        "neutron_driver",
        "rhel_containers",
    }
)


def releases() -> tuple[str, ...]:
    """The names of all releases, oldest first."""
    return _RELEASES


@dataclasses.dataclass(frozen=True, slots=True)
class Catalog:
    """The image table of a release with the values that go into it.

    :ivar release: its name.
    :ivar values: the defaults that ``set`` overrides; empty for a release
        without defaults.
    """

    release: str
    values: Mapping[str, object]
    _prepare: Sequence[Mapping[str, Any]]
    _release_table: ReleaseTable
    _table: ImageTable

    @property
    def tag_wins(self) -> bool:
        """Whether ``tag`` in ``set`` wins over ``tag_from_label``.

        Else the label is read from the image at this tag.
        """
        return self.release in _TAG_WINS

    def neutron_driver(self, drivers: Collection[str] | None) -> str:
        """The value of ``neutron_driver`` where ``set`` has none.

        :param drivers: the mechanism drivers of neutron; None where the
            deployment leaves them to the release.
        """
        if drivers is None or "ovn" in drivers:
            return "ovn"
        if "opendaylight_v2" in drivers and self.release in _WITH_OPENDAYLIGHT:
            return "odl"
        return "other"

    @property
    def default_prepare(self) -> list[dict[str, Any]]:
        """The release's own ``ContainerImagePrepare``; a fresh copy.

        It gives versioned tags: where ``tag`` wins over ``tag_from_label``
        it has none, and the release's own tag is the default.

        :raises InvalidArgument: when the release has none.
        """
        if not self._prepare:
            raise errors.InvalidArgument(
                f"{self.release}: this release has no default"
                " ContainerImagePrepare",
                hint="give one in an environment file; its set needs "
                + ", ".join(self._release_table.variables),
            )
        entries = [copy.deepcopy(dict(entry)) for entry in self._prepare]
        if self.tag_wins:
            for entry in entries:
                if entry.get("tag_from_label"):
                    entry["set"].pop("tag", None)
        return entries

    def knows(self, variable: str) -> bool:
        """Whether ``set`` may have this variable."""
        return (
            variable in _SWITCHES
            or variable in self.values
            or self._release_table.knows(variable)
            or self._table.knows(variable)
        )

    def advice(self, variable: str) -> str:
        """A hint for a variable that is not known."""
        others = [name for name in _RELEASES if load(name).knows(variable)]
        if others:
            return (
                f"it is a variable of {', '.join(others)}, not of"
                f" {self.release}: leave it out, or choose another --release"
            )
        known = sorted(
            {*self.values, *self._release_table.all_variables, *_SWITCHES}
        )
        return errors.did_you_mean(variable, known) or (
            f"release {self.release} knows {', '.join(known)}"
        )

    def render(self, values: Mapping[str, object]) -> tuple[TableImage, ...]:
        """Every image that exists with these values, unfiltered.

        :param values: ``set`` of an entry of ``ContainerImagePrepare``; it
            goes over the release's values.
        :raises InvalidArgument: when the release has no value for what
            every name needs, and neither has `values`.
        :raises InvalidFile: when a user's own template cannot be rendered.
        """
        merged = self._merge(values)
        if self._table is self._release_table:
            self._check_values(merged)
        return self._table.render(merged)

    def default_parameters(
        self, values: Mapping[str, object] | None = None
    ) -> dict[str, str]:
        """A value for every image parameter of the table.

        A plan has these for the parameters that no entry prepares. Images
        that do not exist with these values are used for parameters that
        would have none. Images whose name needs a missing value are left
        out: most of them, for a release without values.

        :param values: as for `render`.
        """
        merged = self._merge(values or {})
        driver = merged.get("neutron_driver") or self.neutron_driver(None)
        merged["neutron_driver"] = driver
        parameters = {
            name: entry.image
            for entry in self._table.render(merged)
            if all(variable in merged for variable in entry.variables)
            for name in entry.parameters
        }
        if self._table is self._release_table:
            for entry in self._release_table.render_absent(merged):
                for name in entry.parameters:
                    parameters.setdefault(name, entry.image)
        return parameters

    def parameters_of(self, name: str) -> tuple[str, ...]:
        """The heat parameters that name an image.

        The vendor and the prefix of the name do not matter: the longest name
        in the table that `name` ends with counts.

        :param name: the last component of its repository.
        :returns: in the table's order; empty for an image of no release.
        """
        bare = self._merge({"name_prefix": "", "name_suffix": ""})
        suffix = str(self._merge({}).get("name_suffix") or "")
        name = name.removesuffix(suffix)
        parameters: dict[str, list[str]] = {}
        for image, names in self._release_table.filled(bare).items():
            own = image.rpartition("/")[2].partition(":")[0]
            if own and f"-{name}".endswith(f"-{own}"):
                parameters.setdefault(own, []).extend(names)
        return (
            tuple(parameters[max(parameters, key=len)]) if parameters else ()
        )

    def with_template(self, path: str) -> Self:
        """The same values, over an image table of the user's own.

        :param path: a jinja2 template, see `catalog.template`.
        :raises InvalidFile: when it cannot be read.
        """
        # Only here: jinja2 is slow to import and seldom needed.
        from imageprep_client.catalog import template

        return dataclasses.replace(
            self, _table=template.TemplateTable.read(path)
        )

    def _check_values(self, merged: Mapping[str, object]) -> None:
        if all(name in merged for name in _INDISPENSABLE):
            return
        missing = [
            name
            for name in self._release_table.variables
            if name not in merged
        ]
        raise errors.InvalidArgument(
            f"{self.release}: this release has no default values, and set"
            f" has no {', '.join(missing)}",
            hint="name them in set of ContainerImagePrepare, or choose"
            " another --release",
        )

    def _merge(self, values: Mapping[str, object]) -> dict[str, object]:
        """`values` over the release's, with the hyphens of the affixes."""
        merged = {**self.values, **values}
        prefix, suffix = merged.get("name_prefix"), merged.get("name_suffix")
        if prefix and not str(prefix).endswith("-"):
            merged["name_prefix"] = f"{prefix}-"
        if suffix and not str(suffix).startswith("-"):
            merged["name_suffix"] = f"-{suffix}"
        return merged


def load(release: str) -> Catalog:
    """The catalog of a release.

    :raises InvalidArgument: when there is no such release.
    """
    if release not in _RELEASES:
        raise errors.InvalidArgument(
            f"{release[:100]!r}: no such release", hint=_advice(release)
        )
    table, values, prepare = _load(release)
    return Catalog(release, values, prepare, table, table)


def probable(values: Mapping[str, object]) -> str | None:
    """The probable release of the images that a ``set`` names.

    That is train for ``docker.io/tripleotraincentos8``, and for
    ``registry.redhat.io/rhosp-rhel8`` with the tag ``16.2``.
    """
    namespace = str(values.get("namespace"))
    for release in _RELEASES:
        if f"tripleo{release}" in namespace:
            return release
    if product := re.search(r"\brhosp(\d*)\b", namespace):
        version = product[1] or str(values.get("tag")).partition(".")[0]
        return _PRODUCTS.get(version)
    return None


@functools.cache
def _load(
    release: str,
) -> tuple[ReleaseTable, Mapping[str, object], Sequence[Mapping[str, Any]]]:
    """The table, the values and the default of a release.

    A release that is ``like`` another has the table of that release, with the
    differences that its file lists. It also has its values and its default
    entries; ``set`` replaces values in them. A ``prepare`` of its own replaces
    the default entries.
    """
    path = _DATA / f"{release}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    table: ReleaseTable | None = None
    values: Mapping[str, object] = {}
    prepare: Sequence[Mapping[str, Any]] = ()
    if "like" in data:
        table, values, prepare = _load(data["like"])
    own = data.get("set", {})
    prepare = [
        {**entry, "set": {**entry["set"], **own}}
        for entry in data.get("prepare", prepare)
    ]
    if prepare:
        values = {**values, **prepare[0]["set"]}
    return ReleaseTable.from_data(data, table), values, prepare


def _advice(release: str) -> str:
    """A hint at the release that a mistyped name may mean."""
    meant = _PRODUCTS.get(release.partition(".")[0], release.lower())
    if meant in _RELEASES:
        return f"did you mean {meant}?"
    return f"one of {', '.join(_RELEASES)}"
