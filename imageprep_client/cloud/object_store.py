"""Containers of an object store, over openstacksdk.

Requests go through the SDK's object-store proxy, which handles tokens,
endpoints and retries. Its methods for objects are not used: they ignore some
errors, carry metadata of one object over to the next, hide the ETag that a
condition needs, read without a limit, and log what they send.
"""

from __future__ import annotations

import dataclasses
import logging
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import requests
from keystoneauth1 import exceptions as auth_errors
from openstack.exceptions import SDKException

from imageprep_client import errors
from imageprep_client.cloud import answers, failures
from imageprep_client.retry import RetryPolicy

if TYPE_CHECKING:
    from openstack.connection import Connection
    from openstack.object_store.v1._proxy import Proxy

_log = logging.getLogger(__name__)

#: Retries by keystoneauth, unless the configuration of the cloud sets them.
_RETRIES = {"connect_retries": 3, "status_code_retries": 4}
#: Timeouts in seconds, to connect and to read.
_TIMEOUT = (10.0, 30.0)
#: Entries of a page, and pages, of a list.
_PAGE = 1000
_MAX_PAGES = 100
#: For an object that arrives damaged.
_READS = RetryPolicy(attempts=3, base=0.0)
#: No retries, nor a new token by the SDK.
_ONCE = {"connect_retries": 0, "status_code_retries": 0, "allow_reauth": False}
#: Headers of an object that are kept when it is replaced.
_KEPT = ("content-type", "x-object-meta-")
# A type whose content keystoneauth does not log.
_TYPE = "application/x-yaml"
# Seconds after which an object that nobody needs is deleted.
_SOON = "30"
_NEWEST = {"X-Newest": "true"}


class Unsettled(errors.PlanError):
    """A request failed for now; it may have succeeded, or still succeed."""

    temporary = True


class _Damaged(errors.PlanError):
    """An object did not arrive as it is."""

    temporary = True


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectStatus:
    """The description of an object.

    :ivar etag: differs when the content does.
    :ivar kept: headers to keep when it is replaced.
    """

    etag: str
    kept: Mapping[str, str]


class ObjectStore:
    """Requests to an object store.

    :param proxy: of a connection of openstacksdk's; used by several threads.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._retries: dict[str, Any] = {
            key: count
            for key, count in _RETRIES.items()
            if getattr(proxy, key) is None
        }

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """The object store of a cloud.

        :raises CloudError: when there is none.
        """
        try:
            return cls(connection.object_store)
        except (SDKException, auth_errors.ClientException) as error:
            raise failures.of_service(
                error,
                "cloud",
                "no object store",
                "look at the catalog, --os-region-name and --os-interface",
            ) from None

    def containers(self) -> Iterator[str]:
        """The names of all containers, in order.

        :raises PlanError: when the object store fails.
        """
        return self.listed("object store", "/", {})

    def listed(
        self, what: str, url: str, parameters: Mapping[str, str]
    ) -> Iterator[str]:
        """The names in a listing, without its folders, page after page.

        :raises PlanError: when it is malformed, or has no end.
        """
        marker = ""
        for _ in range(_MAX_PAGES):
            query = {"format": "json", "limit": str(_PAGE), "marker": marker}
            with self.ask(
                what, "GET", url, params={**parameters, **query}, stream=True
            ) as response:
                answers.check(response, what)
                page = answers.listing(response, what)
            for entry in page:
                name = entry.get("name") or entry["subdir"]
                # The order of the names in UTF-8, which is that of `str`.
                if name <= marker:
                    raise errors.PlanError(
                        f"{what}: the object store's list has no end: it"
                        f" repeats {name[:100]!r}"
                    )
                marker = name
                if "name" in entry:
                    yield name
            if not page:
                return
        raise errors.PlanError(
            f"{what}: the object store's list has over {_MAX_PAGES * _PAGE}"
            " entries"
        )

    def ask(
        self,
        what: str,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        once: tuple[float, float] | None = None,
        **more: Any,
    ) -> requests.Response:
        """Send a request; the response may have any status.

        :param what: the object of the request, for errors.
        :param once: send it once only, with these timeouts to connect and
            to read.
        :raises Unsettled: when there is no response for now.
        :raises PlanError: when there is no response.
        """
        try:
            response = self._proxy.request(
                url,
                method,
                headers=dict(headers or {}),
                timeout=once or _TIMEOUT,
                # The content has passwords in it.
                log=False,
                **(_ONCE if once else self._retries),
                **more,
            )
        except auth_errors.ClientException as error:
            told = failures.of_service(
                error, what, "the object store cannot be asked"
            )
            for_now = isinstance(error, auth_errors.RetriableConnectionFailure)
            kind = Unsettled if for_now else errors.PlanError
            raise kind(str(told), hint=told.hint) from None
        _log.debug("%s %s: %d", method, url, response.status_code)
        return response


class ObjectContainer:
    """A container, which need not exist.

    :ivar name: of the container.
    """

    def __init__(
        self, store: ObjectStore, name: str, kind: str = "plan"
    ) -> None:
        """Send no request yet.

        :param kind: the word before its name in errors.
        :raises InvalidArgument: when no container can have this name.
        """
        if not can_be_plan(name):
            raise errors.InvalidArgument(
                f"plan {name!r}: no plan can have this name",
                hint="use --plan-dir for a directory",
            )
        self.name = name
        self._kind = kind
        self._store = store
        # The SDK cannot tell the name "v" from a version.
        self._url = "/%76" if name == "v" else f"/{urllib.parse.quote(name)}"

    def metadata(self) -> Mapping[str, str] | None:
        """The headers of the container; None when it does not exist."""
        response = self._ask("HEAD", "")
        if response.status_code == requests.codes.not_found:
            return None
        self._check(response, "")
        return response.headers

    def get(self, path: str, *, newest: bool = False) -> tuple[bytes, str]:
        """The content of an object and its ETag; empty when there is none.

        At most `answers.MAX_SIZE` bytes and one are read.

        :param newest: compare the copies of all servers.
        """
        headers = _NEWEST if newest else {}

        def read() -> tuple[bytes, str]:
            with self._ask("GET", path, headers, stream=True) as answer:
                if answer.status_code == requests.codes.not_found:
                    return b"", ""
                self._check(answer, path)
                content = answers.body(answer)
            if content is None:
                raise _Damaged(
                    f"{self._what(path)}: arrives broken from the object store"
                )
            return content, answer.headers.get("ETag", "")

        return _READS.repeat(read, _Damaged)

    def head(self, path: str) -> ObjectStatus | None:
        """The description of an object; None when there is none."""
        response = self._ask("HEAD", path, _NEWEST)
        if response.status_code == requests.codes.not_found:
            return None
        self._check(response, path)
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower().startswith(_KEPT)
        }
        return ObjectStatus(response.headers.get("ETag", ""), kept)

    def put(
        self,
        path: str,
        content: bytes,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> None:
        """Write an object, over another one.

        The request is sent once. A caller that repeats it must first look
        at the present object.

        :param timeout: seconds to connect and to read.
        :raises Unsettled: when a later attempt may succeed.
        """
        answer = self._put(path, content, headers, once=timeout)
        if answer.status_code in answers.FOR_NOW:
            raise Unsettled(
                f"{self._what(path)}: the object store fails"
                f" (PUT {answer.status_code})"
            )
        self._check(answer, path)

    def check_writable(self, path: str) -> None:
        """Check that objects can be written; nothing is written.

        The ETag that is sent is wrong on purpose: a store that accepts the
        request refuses it at its end. Missing rights and a full quota are
        refused before.

        :param path: of an object that does not exist.
        :raises PlanError: when this user may only read.
        :raises NoSpace: when the quota is reached.
        """
        answer = self._put(
            path,
            b"\n",
            {
                "ETag": answers.md5(b""),
                # For a store that does not compare them.
                "X-Delete-After": _SOON,
            },
        )
        if answer.status_code == requests.codes.unprocessable_entity:
            return
        if answer.status_code == requests.codes.forbidden:
            raise self.error(
                "",
                "this user may read it, and not write to it (PUT 403)",
                "have its owner add the user to the container's write ACL,"
                " X-Container-Write",
            )
        self._check(answer, path)
        self.delete(path)

    def create(
        self, path: str, content: bytes, headers: Mapping[str, str]
    ) -> bool:
        """Create an object; False when it exists.

        Two concurrent calls may both succeed.
        """
        response = self._put(path, content, {**headers, "If-None-Match": "*"})
        if response.status_code != requests.codes.precondition_failed:
            self._check(response, path)
            return True
        # The answer to an earlier try may have been lost.
        return self.get(path, newest=True)[0] == content

    def delete(
        self, path: str, timeout: tuple[float, float] | None = None
    ) -> None:
        """Delete an object, which need not exist.

        :param timeout: send the request once, with these seconds to connect
            and to read.
        """
        response = self._ask("DELETE", path, once=timeout)
        if response.status_code != requests.codes.not_found:
            self._check(response, path)

    def names(self, folder: str) -> Iterator[str]:
        """The objects directly in a folder, in order."""
        parameters = {"prefix": f"{folder}/", "delimiter": "/"}
        return self._store.listed(self._what(), self._url, parameters)

    def error(
        self, path: str, problem: str, hint: str | None = None
    ) -> errors.PlanError:
        """The error to raise for the container, or for an object in it."""
        return errors.PlanError(f"{self._what(path)}: {problem}", hint=hint)

    def _put(
        self,
        path: str,
        content: bytes,
        headers: Mapping[str, str],
        **more: Any,
    ) -> requests.Response:
        headers = {
            "Content-Type": _TYPE,
            # The store compares what arrives.
            "ETag": answers.md5(content),
            **headers,
        }
        return self._ask("PUT", path, headers, data=content, **more)

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> requests.Response:
        url = f"{self._url}/{urllib.parse.quote(path)}".rstrip("/")
        return self._store.ask(self._what(path), method, url, headers, **more)

    def _what(self, path: str = "") -> str:
        what = f"{self._kind} {self.name}"
        return f"{what}: {path}" if path else what

    def _check(self, response: requests.Response, path: str) -> None:
        answers.check(response, self._what(path))


def can_be_plan(name: str) -> bool:
    """Whether a container that is a plan can have this name."""
    return name.isprintable() and "/" not in name and name.strip(".") != ""
