"""``registries.conf``: locations and mirrors of repositories.

Version 2, as in containers-registries.conf(5) and
containers-registries.conf.d(5), and the insecure and blocked registries of
version 1.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.http import urls
from imageprep_client.oci import reference as references
from imageprep_client.oci.redaction import redacted

ETC = Path("/etc/containers")
_NAME = "registries.conf"
_TOKEN_SERVER = "token-server"  # noqa: S105 - the name of a key

Pull = Literal["all", "digest-only", "tag-only"]
_PULLS: tuple[Pull, ...] = ("all", "digest-only", "tag-only")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A mirror.

    :ivar location: ``host[:port][/path]``, in place of the prefix.
    :ivar insecure: whether no or unverified TLS is permitted.
    :ivar pull: the references that it is used for.
    :ivar token_server: see `RegistryTable`.
    """

    location: str
    insecure: bool = False
    pull: Pull = "all"
    token_server: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RegistryTable:
    """A ``[[registry]]``: settings for names that begin with `prefix`.

    :ivar prefix: ``host[:port][/path]`` or ``*.domain``.
    :ivar location: replaces the prefix; None to leave names unchanged.
    :ivar file: the file of the table.
    :ivar token_server: URL of a token server on another site that may have
        the credentials of the registry. The key is this program's own; others
        ignore it.
    """

    prefix: str
    location: str | None
    file: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Source, ...] = ()
    token_server: str | None = None

    def rest(self, name: str) -> str | None:
        """The rest of a name after the prefix; None for other names.

        :param name: ``registry/repository``, or a registry alone.
        """
        if self.prefix.startswith("*."):
            host = name.partition("/")[0]
            bare = host.partition(":")[0]
            if not bare.endswith(self.prefix[1:]):
                return None
            return name[len(bare) :]
        rest = name.removeprefix(self.prefix)
        matches = name.startswith(self.prefix) and rest[:1] in ("", "/")
        return rest if matches else None

    def located(self, name: str, location: str | None) -> str:
        """The name with `location` in place of the prefix."""
        rest = self.rest(name)
        return f"{location}{rest}" if location and rest is not None else name


class RegistriesConf:
    """The tables of all files.

    :param tables: the last of those with equal prefixes counts.
    """

    def __init__(self, tables: Iterable[RegistryTable] = ()) -> None:
        known = {table.prefix: table for table in tables}
        self._tables = sorted(
            known.values(),
            key=lambda t: (len(t.prefix), not t.prefix.startswith("*")),
            reverse=True,
        )

    def find(self, name: str) -> RegistryTable | None:
        """The table with the longest prefix of this name, or None."""
        for table in self._tables:
            if table.rest(name) is not None:
                return table
        return None

    def token_servers(self) -> Iterator[tuple[str, str]]:
        """Each registry, as ``host[:port]``, with a token server."""
        for table in self._tables:
            places: list[RegistryTable | Source] = [table, *table.mirrors]
            for place in places:
                if place.token_server and place.location:
                    host = place.location.partition("/")[0]
                    yield host, place.token_server


def load(
    environ: Mapping[str, str], home: Path, etc: Path = ETC
) -> RegistriesConf:
    """Read the files of the user, or else those of the system.

    The file in ``CONTAINERS_REGISTRIES_CONF`` replaces both.

    :raises InvalidFile: at the first invalid value.
    """
    own = home / ".config" / "containers"
    named = environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        if not Path(named).exists():
            raise errors.InvalidFile(
                named,
                "no such file",
                hint="CONTAINERS_REGISTRIES_CONF names it",
            )
        files, drop_ins = [Path(named)], [etc, own]
    # Unlike Path, os.path returns False without permission.
    elif os.path.exists(own / _NAME):
        files, drop_ins = [own / _NAME], [own]
    else:
        files, drop_ins = [etc / _NAME], [etc, own]
    for directory in drop_ins:
        files += sorted((directory / f"{_NAME}.d").glob("*.conf"))
    return RegistriesConf(
        table for path in files for table in _Document(path).tables()
    )


class _Document:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._data = self._read(path)

    def tables(self) -> list[RegistryTable]:
        """All tables of the file, each prefix once."""
        tables: dict[str, RegistryTable] = {}
        for index, data in enumerate(self._list(self._data, "registry", "")):
            table = self._table(data, f"registry[{index}]")
            if table.prefix in tables:
                raise self._error(
                    f"registry[{index}]", f"a second {table.prefix}"
                )
            tables[table.prefix] = table
        old_tables = self._version_1()
        if old_tables and tables:
            raise self._error(
                "registries", "is of version 1 of this file, beside version 2"
            )
        return old_tables or list(tables.values())

    def _read(self, path: Path) -> Mapping[str, Any]:
        try:
            return tomllib.loads(inputs.read(path).decode())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._error(
                "", f"cannot be read: {errors.reason(error)}"
            ) from None
        except UnicodeDecodeError:
            raise self._error("", "is no TOML: not UTF-8") from None
        except RecursionError:
            raise self._error("", "is no TOML: nested too deeply") from None
        except ValueError as error:
            raise self._error("", f"is no TOML: {error}") from None

    def _table(self, data: Mapping[str, Any], key: str) -> RegistryTable:
        location = self._place(data, "location", key)
        prefix = self._prefix(data, key) or location
        if not prefix:
            raise self._error(key, "has neither prefix nor location")
        if not location and not prefix.startswith("*."):
            location = prefix
        by_digest = self._flag(data, "mirror-by-digest-only", key)
        token_server = self._token_server(data, key)
        if token_server and not location:
            raise self._error(
                f"{key}.{_TOKEN_SERVER}", "expected a location beside it"
            )
        return RegistryTable(
            prefix=prefix,
            location=location,
            file=self._path,
            insecure=self._flag(data, "insecure", key),
            blocked=self._flag(data, "blocked", key),
            mirrors=tuple(
                self._mirror(mirror, f"{key}.mirror[{index}]", by_digest)
                for index, mirror in enumerate(self._list(data, "mirror", key))
            ),
            token_server=token_server,
        )

    def _mirror(
        self, data: Mapping[str, Any], key: str, by_digest: bool
    ) -> Source:
        location = self._place(data, "location", key)
        if not location:
            raise self._error(key, "has no location")
        pull = data.get("pull-from-mirror") or None
        if pull and by_digest:
            raise self._error(
                f"{key}.pull-from-mirror",
                "cannot stand beside mirror-by-digest-only",
            )
        if pull is None:
            pull = "digest-only" if by_digest else "all"
        if pull not in _PULLS:
            raise self._error(
                f"{key}.pull-from-mirror",
                f"{str(pull)[:50]!r}: expected all, digest-only or tag-only",
            )
        return Source(
            location,
            self._flag(data, "insecure", key),
            pull,
            self._token_server(data, key),
        )

    def _token_server(self, data: Mapping[str, Any], key: str) -> str | None:
        text = data.get(_TOKEN_SERVER) or None
        if text is not None and not urls.is_https(text):
            raise self._error(f"{key}.{_TOKEN_SERVER}", "expected https://...")
        return text

    def _version_1(self) -> list[RegistryTable]:
        lists = self._data.get("registries") or {}
        tables: dict[str, RegistryTable] = {}
        for name in ("insecure", "block"):
            key = f"registries.{name}"
            part = lists.get(name, {}) if isinstance(lists, dict) else None
            hosts = part.get("registries", []) if isinstance(part, dict) else 0
            if not isinstance(hosts, list):
                raise self._error(key, "expected registries = [...]")
            for host in hosts:
                place = self._checked(host, f"{key}.registries")
                table = tables.get(place) or RegistryTable(
                    place, place, self._path
                )
                tables[place] = dataclasses.replace(
                    table,
                    insecure=table.insecure or name == "insecure",
                    blocked=name == "block",
                )
        return list(tables.values())

    def _prefix(self, data: Mapping[str, Any], key: str) -> str | None:
        text = data.get("prefix")
        if isinstance(text, str) and text.startswith("*."):
            if "/" in text or ":" in text:
                raise self._error(
                    f"{key}.prefix", "only *.domain may have a wildcard"
                )
            return f"*.{self._checked(text[2:], f'{key}.prefix')}"
        return self._place(data, "prefix", key)

    def _place(
        self, data: Mapping[str, Any], name: str, key: str
    ) -> str | None:
        text = data.get(name)
        if text is None or text == "":
            return None
        return self._checked(text, f"{key}.{name}")

    def _checked(self, text: object, key: str) -> str:
        """``host[:port][/path]``, or an error."""
        if not isinstance(text, str):
            raise self._error(key, "expected a string")
        host, slash, path = text.rstrip("/").partition("/")
        try:
            host = references.check_registry(host)
            if slash:
                references.check_repository(path)
        except errors.InvalidReference:
            raise self._error(
                key,
                f"{redacted(text)[:100]!r}: expected host[:port][/path]",
                hint="leave out https://, and tags and digests",
            ) from None
        return f"{host}{slash}{path}"

    def _flag(self, data: Mapping[str, Any], name: str, key: str) -> bool:
        value = data.get(name, False)
        if not isinstance(value, bool):
            raise self._error(f"{key}.{name}", "expected true or false")
        return value

    def _list(
        self, data: Mapping[str, Any], name: str, key: str
    ) -> list[Mapping[str, Any]]:
        value = data.get(name, [])
        where = f"{key}.{name}" if key else name
        if not isinstance(value, list) or not all(
            isinstance(element, dict) for element in value
        ):
            raise self._error(where, "expected an array of tables")
        return value

    def _error(
        self, key: str, problem: str, hint: str | None = None
    ) -> errors.InvalidFile:
        return errors.InvalidFile(self._path, problem, key=key, hint=hint)
