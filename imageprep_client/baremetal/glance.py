"""Images in Glance, through the connection that openstacksdk made.

Its own ``create_image`` compares checksums by MD5 only, gives a stale status
and leaves a refused image queued: here each step is a request of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import requests
from keystoneauth1 import exceptions as auth_errors
from openstack import exceptions as sdk_errors

from imageprep_client import errors

_BODY = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
_MAX_PAGES = 1000
#: No retries, nor a new token, by the SDK: it would send the rest of the data,
#: and Glance would wait for the others.
_ONCE = {"connect_retries": 0, "status_code_retries": 0, "allow_reauth": False}
#: Seconds to connect and to wait for a response. Stores may take long to end
#: an upload, and to delete an image, which some do before the response.
_USUAL, _UPLOADING, _DELETING = (30.0, 30.0), (30.0, None), (30.0, 600.0)
#: The fields that are Glance's own, and no properties.
FIELDS = frozenset(
    {
        *("id", "name", "status", "size", "disk_format", "container_format"),
        *("visibility", "os_hash_algo", "os_hash_value", "created_at"),
        *("checksum", "file", "schema", "self", "tags", "owner", "min_disk"),
        *("min_ram", "virtual_size", "updated_at", "protected", "os_hidden"),
        *("locations", "direct_url", "stores"),
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class GlanceImage:
    """An image as Glance has it.

    :ivar size: 0 where it has no data.
    :ivar properties: those that are not Glance's own.
    """

    id: str
    name: str
    status: str
    size: int
    disk_format: str
    container_format: str
    visibility: str
    hash_algorithm: str
    hash_value: str
    created: str
    updated: str
    properties: Mapping[str, str]


class UploadData(Protocol):
    """The data of an image, read once from the beginning."""

    def read(self, size: int = -1) -> bytes: ...


class Glance:
    """The image service of a cloud.

    :param connection: an ``openstack.connection.Connection``.
    """

    def __init__(self, connection: Any) -> None:
        with _translated("image service"):
            self._session = connection.image
            self._timeout = self._session.session.timeout or _USUAL
            #: Images belong to this project.
            self.project = str(connection.current_project_id)

    @property
    def endpoint(self) -> str:
        """URL of the service, without the version."""
        with _translated("image service"):
            url = str(self._session.get_endpoint()).rstrip("/")
        return re.sub(r"/v[0-9.]+$", "", url)

    def images(self, **properties: str) -> list[GlanceImage]:
        """The images of the project that have these properties."""
        listed = []
        query = {"owner": self.project, "limit": "100", **properties}
        url, parameters = "/images", query
        for _ in range(_MAX_PAGES):
            answer = self._ask("GET", url, params=parameters)
            document = answer.json()
            listed += [_image(entry) for entry in document["images"]]
            following = document.get("next")
            if not following:
                break
            url, parameters = str(following).removeprefix("/v2"), {}
        return listed

    def get(self, identity: str) -> GlanceImage | None:
        """One image; None when there is none."""
        with contextlib.suppress(errors.NotFound):
            return _image(self._ask("GET", f"/images/{identity}").json())
        return None

    def create(self, fields: Mapping[str, str]) -> bool:
        """Make an image without data.

        :returns: False when its id is, or was, that of another.
        """
        answer = self._ask("POST", "/images", json=dict(fields), may=409)
        return answer.status_code != 409

    def upload(self, identity: str, data: UploadData, size: int) -> None:
        """Upload the data of an image.

        :param size: of the data: Glance refuses data that end early.
        :raises AccessDenied: temporary where the token has expired.
        """
        try:
            self._ask(
                "PUT",
                f"/images/{identity}/file",
                data=data if size else b"",
                timeout=_UPLOADING,
                headers={
                    "Content-Type": "application/octet-stream",
                    "X-OpenStack-Image-Size": str(size),
                },
                **_ONCE,
            )
        except errors.AccessDenied as error:
            if error.temporary:
                self._session.invalidate()
            raise

    def update(self, identity: str, changes: Mapping[str, str]) -> None:
        """Set fields and properties."""
        current = self._ask("GET", f"/images/{identity}").json()
        patch = [
            {
                "op": "replace" if key in current else "add",
                "path": f"/{key}",
                "value": value,
            }
            for key, value in changes.items()
            if current.get(key) != value
        ]
        if patch:
            self._ask(
                "PATCH", f"/images/{identity}", json=patch, headers=_BODY
            )

    def delete(self, identity: str) -> None:
        """Delete an image, which need not exist."""
        with contextlib.suppress(errors.NotFound):
            self._ask("DELETE", f"/images/{identity}", timeout=_DELETING)

    def _ask(
        self, method: str, path: str, may: int = 0, **options: Any
    ) -> requests.Response:
        what = f"image service: {method} {path}"
        options.setdefault("timeout", self._timeout)
        with _translated(what):
            answer: requests.Response = self._session.request(
                path, method, raise_exc=False, **options
            )
        status = answer.status_code
        if status < 400 or status == may:
            return answer
        told = " ".join(_told(answer).split())[:300]
        message = f"{what}: {status} {told}"
        if status == 404:
            raise errors.NotFound(message)
        if status in (401, 403):
            raise errors.AccessDenied(
                message,
                hint="look at the policy of the image service",
                temporary=status == 401,
            )
        if status == 413:
            raise errors.NoSpace(
                message,
                hint="look at the image quotas, and at the space that the"
                " image service has",
            )
        if status < 500:
            raise errors.Refused(message)
        raise errors.ServerFault(message)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Raise what the SDK raises as an error of ours."""
    try:
        yield
    except (
        auth_errors.ConnectionError,
        requests.ConnectionError,
        requests.Timeout,
    ) as error:
        raise errors.Unreachable(f"{what}: {errors.reason(error)}") from None
    except auth_errors.EndpointNotFound:
        raise errors.InvalidArgument(
            f"{what}: the cloud has none in its catalog"
        ) from None
    except (auth_errors.ClientException, sdk_errors.SDKException) as error:
        raise errors.ServerFault(f"{what}: {errors.reason(error)}") from None


def _told(answer: requests.Response) -> str:
    """The words of an answer: Glance's are HTML."""
    text = html.unescape(answer.text)
    if "<body>" in text:
        text = text.partition("<body>")[2].partition("</body>")[0]
        text = text.partition("</h1>")[2].replace("<br />", " ")
    return text


def _image(document: Mapping[str, Any]) -> GlanceImage:
    return GlanceImage(
        id=str(document["id"]),
        name=str(document.get("name") or ""),
        status=str(document.get("status")),
        size=int(document.get("size") or 0),
        disk_format=str(document.get("disk_format") or ""),
        container_format=str(document.get("container_format") or ""),
        visibility=str(document.get("visibility") or ""),
        hash_algorithm=str(document.get("os_hash_algo") or ""),
        hash_value=str(document.get("os_hash_value") or ""),
        created=str(document.get("created_at") or ""),
        updated=str(document.get("updated_at") or ""),
        properties={
            key: str(value)
            for key, value in document.items()
            if key not in FIELDS
        },
    )
