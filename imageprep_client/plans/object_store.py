"""One container of an object store, by way of openstacksdk.

The requests are those of the SDK's object-store proxy, which knows tokens,
endpoints and retries; its calls for objects are not used. They ignore some
errors, keep metadata of one object for the next, hide the ETag that a
condition needs, have no limit to what they read, and log what they send.
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
from imageprep_client.plans import answers

if TYPE_CHECKING:
    from openstack.connection import Connection
    from openstack.object_store.v1._proxy import Proxy

_log = logging.getLogger(__name__)

#: How often keystoneauth repeats what fails, unless the cloud's
#: configuration says otherwise.
_RETRIES = {"connect_retries": 3, "status_code_retries": 4}
#: Seconds to connect, and of silence.
_TIMEOUT = (10.0, 30.0)
#: Entries of a page, and pages, of a list.
_PAGE = 1000
_MAX_PAGES = 100
#: How often an object is asked for that arrives broken.
_READS = 3
#: Nothing is repeated: the SDK's own way to get a new token, either.
_ONCE = {
    "connect_retries": 0,
    "status_code_retries": 0,
    "allow_reauth": False,
}
#: Of an object these are kept when it is replaced.
_KEPT = ("content-type", "x-object-meta-")
# No type whose content keystoneauth logs.
_TYPE = "application/x-yaml"
# Seconds, after which an object is gone that nobody needs.
_SOON = "30"
_NEWEST = {"X-Newest": "true"}


class Unsettled(errors.PlanError):
    """A request has failed for now; it may have been done, or may yet be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """An object as the store describes it.

    :ivar etag: differs when the content does.
    :ivar kept: headers that are to be kept when it is replaced.
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

        :raises PlanError: when there is none.
        """
        try:
            return cls(connection.object_store)
        except (SDKException, auth_errors.ClientException) as error:
            raise errors.PlanError(
                f"the cloud has no object store: {errors.reason(error)}",
                hint="look at the catalog, --os-region-name and"
                " --os-interface",
            ) from error

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
        """Send a request; the answer may have any status.

        :param what: what errors are about.
        :param once: send it no more than once, with these seconds to
            connect, and of silence.
        :raises Unsettled: when there is no answer, for now.
        :raises PlanError: when there is none.
        """
        try:
            response = self._proxy.request(
                url,
                method,
                headers=dict(headers or {}),
                timeout=once or _TIMEOUT,
                # What is sent has passwords in it.
                log=False,
                **(_ONCE if once else self._retries),
                **more,
            )
        except auth_errors.ClientException as error:
            why = errors.reason(error)
            for_now = isinstance(error, auth_errors.RetriableConnectionFailure)
            raise (Unsettled if for_now else errors.PlanError)(
                f"{what}: the object store cannot be asked: {why}",
                hint=_hint(error),
            ) from error
        _log.debug("%s %s: %d", method, url, response.status_code)
        return response


class Container:
    """One container; it need not exist.

    :ivar name: of the container.
    """

    def __init__(
        self, store: ObjectStore, name: str, kind: str = "plan"
    ) -> None:
        """Nothing is asked yet.

        :param kind: what errors call it, before its name.
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
        """The headers of the container, in any case; None when it is not."""
        response = self._ask("HEAD", "")
        if response.status_code == requests.codes.not_found:
            return None
        self._check(response, "")
        return response.headers

    def get(self, path: str, *, newest: bool = False) -> tuple[bytes, str]:
        """The content of an object and its ETag; nothing when it is not.

        Of a larger object the first `document.MAX_SIZE` bytes and one.

        :param newest: ask all servers that have it, not the next best.
        """
        headers = _NEWEST if newest else {}
        for _ in range(_READS):
            with self._ask("GET", path, headers, stream=True) as answer:
                if answer.status_code == requests.codes.not_found:
                    return b"", ""
                self._check(answer, path)
                content = answers.body(answer)
            if content is not None:
                return content, answer.headers.get("ETag", "")
            _log.info("plan %s: %s: arrived broken", self.name, path)
        raise self.error(path, "arrives broken from the object store")

    def head(self, path: str) -> Found | None:
        """What is known of an object; None when there is none."""
        response = self._ask("HEAD", path, _NEWEST)
        if response.status_code == requests.codes.not_found:
            return None
        self._check(response, path)
        kept = {
            name: value
            for name, value in response.headers.items()
            if name.lower().startswith(_KEPT)
        }
        return Found(response.headers.get("ETag", ""), kept)

    def put(
        self,
        path: str,
        content: bytes,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> None:
        """Write an object, over another one.

        The request is sent once: whoever repeats it has to look first what
        is there by then.

        :param timeout: seconds to connect, and of silence.
        :raises Unsettled: when it is worth another try.
        """
        answer = self._put(path, content, headers, once=timeout)
        if answer.status_code in answers.FOR_NOW:
            raise Unsettled(
                f"{self._what(path)}: the object store fails"
                f" (PUT {answer.status_code})"
            )
        self._check(answer, path)

    def check_writable(self, path: str) -> None:
        """Find out whether objects can be written; nothing is written.

        What is sent is not what its ETag says: a store that would write it
        finds that out at the end, and refuses. Who may not write is refused
        before, and so is what a quota has no room for.

        :param path: of an object that there is none of.
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
        """Write an object where none is; False when one is.

        Two that are written at the same time may both be said to be new.
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
        """Let there be no such object; there may be none.

        :param timeout: send the request once, with these seconds to
            connect, and of silence.
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
        """What to raise for the container, or for an object in it."""
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


def _hint(error: auth_errors.ClientException) -> str | None:
    if isinstance(error, auth_errors.SSLError):
        return "name the authority of its certificate with --os-cacert"
    return None
