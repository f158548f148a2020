"""Responses of registries as errors of this package."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import html
import http
import json
import re
from collections.abc import Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.http import proxies, urls
from imageprep_client.http.transport import Response
from imageprep_client.oci.redaction import MASK
from imageprep_client.stores.registry import description

#: The rest of an error response is not read.
MAX_ERROR = 64 * 1024
_MAX_MESSAGE = 200
_CUT = " ... "

#: No pause is longer, in seconds: a hundred years.
_LONGEST = 3.2e9

#: Status codes that another attempt may change. Those from 520 on are of
#: Cloudflare, which Docker Hub and other registries are behind.
TEMPORARY = frozenset(
    {408, 425, 429, 499, 500, 502, 503, 504, *range(520, 526), 527, 530}
)

#: Those of a server that wants fewer requests: proxies answer 503 by default.
LIMITED = frozenset({429, 503})

_WORDS = {
    400: "bad request",
    401: "authentication required",
    403: "access denied",
    404: "not found",
    405: "not supported by the registry",
    413: "too large for the registry, or for a proxy in front of it",
    429: "too many requests",
    507: "the registry has no space left",
}
#: Remedies for refusals of what was sent.
_HINTS = {
    405: "the registry may be read-only, or a cache of another one",
    412: "a rule of the registry forbids this: if it is that for immutable"
    " tags, use another tag",
    413: "usually a reverse proxy in front of the registry limits the size of"
    " a request, as client_max_body_size of nginx does; raise its limit",
    507: "the quota is used up, or the storage is full: delete images, for"
    " instance with prune, or raise the limit",
}
_NO_WRITES = (
    "no login changes that: wait until the registry takes writes again, or use"
    " another project"
)
_UNAVAILABLE = (
    "a rule of the registry forbids to read this image, for instance until it"
    " is signed or scanned"
)
_ELSEWHERE = (
    "a redirect of this kind is not followed with content: name the registry"
    " by the address that it redirects to"
)
_DIGEST_CODES = frozenset({"DIGEST_INVALID"})
#: Keys of a reason in answers that have no list of errors.
_OTHER_FORMS = (
    "error_description",
    "details",
    "displayMessage",
    "message",
    "detail",
    "msg",
    "error",
)
#: The reason of a storage service: those of S3, Azure and Google are alike.
_XML_MESSAGE = re.compile(
    rb"<Error\b[^>]*>.{0,1000}?<Message>([^<]+)", re.DOTALL
)
#: Answers that proxies give themselves.
_OF_PROXIES = frozenset({403, 407, 502, 503, 504})
#: The title of a web page, without the status before it.
_TITLE = re.compile(rb"<title>\s*(?:\d{3}\s+)?([^<]+)</title>", re.IGNORECASE)
_READS = frozenset({"GET", "HEAD"})
#: The reasons of Quay and Harbor for a refusal of what exceeds a quota, whose
#: status is that of denied access.
_QUOTA = re.compile(r"\bquota\b|exceed the configured upper limit", re.I)
#: Reasons of Harbor and Quay that no permission of a user changes.
_READ_ONLY = re.compile(
    r"\bin read only mode\b|\bcurrently read-only\b|\bproxy project\b", re.I
)
_SIZE_CODES = frozenset({"SIZE_INVALID"})
#: Codes about the content that was sent. distribution answers 500 with one of
#: them when it refuses the URLs of a layer.
_VERDICTS = frozenset(
    {"MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNVERIFIED"}
)
_REFUSED_LAYER = "URL on layer"
#: Codes for parts of a manifest, which some registries know only seconds after
#: they were pushed.
_PARTS_UNKNOWN = frozenset(
    {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}
)
#: Codes of access errors, which ECR Public sends with 400.
_ACCESS_CODES = frozenset({"DENIED", "UNAUTHORIZED"})


def is_unwell(response: Response) -> bool:
    """Whether a server failed, or wants to be asked later."""
    return response.status >= 500 or response.status in TEMPORARY


def from_response(
    response: Response, what: str, unknown: str | None = None
) -> errors.StoreError:
    """The error for a response, which is read and released.

    :param what: the object of the request, as the user knows it.
    :param unknown: the meaning of 404, such as ``"manifest unknown"``.
    """
    code, said = _reason(response)
    error = _error(response, what, unknown, code, said)
    if response.proxy and not said and response.status in _OF_PROXIES:
        error.hint = proxies.advice(
            response.url, response.proxy, response.status
        )
    elif not said and (response.status == 403 or _is_without_login(response)):
        error.hint = description.page_hint(response)
    return error


def _is_without_login(response: Response) -> bool:
    """Whether it wants a login, was given none, and asks for none."""
    return (
        response.status == 401
        and not response.authorization
        and "WWW-Authenticate" not in response.headers
    )


def _error(
    response: Response, what: str, unknown: str | None, code: str, said: str
) -> errors.StoreError:
    status = response.status
    if status == 404 and unknown:
        said = said or unknown
    words = said or _WORDS.get(status) or _phrase(status)
    location = response.headers.get("Location")
    if status in urls.REDIRECTS:
        words = f"redirected to {urls.shown(location or 'nowhere')}"
    message = (
        f"{what}: {_cut(words)}"
        f" ({response.method} {urls.shown(response.url)} {status})"
    )
    manifest = response.method == "PUT" and "/manifests/" in response.url
    if manifest and status < 500 and code in _PARTS_UNKNOWN:
        return errors.PartsUnknown(message, status=status)
    if status == 404:
        return errors.NotFound(message, hint=_of_cache(response))
    if status == 429:
        wait = retry_after(response.headers)
        return errors.TooManyRequests(message, retry_after=wait, status=status)
    sent = response.method not in _READS
    if status == 507 or (sent and status < 500 and _QUOTA.search(said)):
        return errors.NoSpace(message, hint=_HINTS[507])
    if status in (401, 403) or (status == 400 and code in _ACCESS_CODES):
        hint = _NO_WRITES if sent and _READ_ONLY.search(said) else None
        return errors.AccessDenied(message, hint=hint)
    # In response to a read they mean that the request is malformed.
    if sent and code in _DIGEST_CODES:
        return errors.DigestMismatch(message)
    if sent and code in _SIZE_CODES:
        return errors.SizeMismatch(message)
    if sent and (code in _VERDICTS or _REFUSED_LAYER in said):
        return errors.Refused(message, status=status)
    if (400 <= status < 500 or status == 501) and status not in TEMPORARY:
        hint = _HINTS.get(status) if sent else None
        if status == 412 and not sent:
            hint = _UNAVAILABLE
        return errors.Refused(message, hint=hint, status=status)
    hint = _ELSEWHERE if status in urls.REDIRECTS and sent else None
    return errors.ServerFault(
        message, hint=hint, temporary=status in TEMPORARY, status=status
    )


def _of_cache(response: Response) -> str | None:
    """A hint for an answer that a cache has kept, by RFC 9111."""
    age = response.headers.get("Age", "").strip()
    if not (age.isascii() and age.isdigit() and age.strip("0")):
        return None
    return (
        "a cache in front of the registry gave this answer, which is"
        f" {age[:9]} s old: let it keep no answers of 404"
    )


def of_other_server(
    error: errors.StoreError, response: Response, registry: str
) -> errors.StoreError:
    """The error for a response of a server that a registry redirects to.

    A signed URL of storage may have expired, or be one that a proxy kept;
    another attempt gets a new one.
    """
    if response.method == "GET" and response.status in (400, 403):
        refused = errors.ServerFault(
            str(error),
            status=response.status,
            hint=f"{registry} redirects to this server, which refused the"
            " URL: look at the clocks of both, and at a proxy in between that"
            " caches redirects",
        )
        refused.isolated = True
        return refused
    if isinstance(error, errors.AccessDenied):
        error.hint = (
            f"{registry} redirects to another server, which gets no"
            " credentials: name that server instead"
        )
    return error


def _phrase(status: int) -> str:
    """The name of a status, such as ``payment required``."""
    with contextlib.suppress(ValueError):
        return http.HTTPStatus(status).phrase.lower()
    return "unexpected answer"


def reason(response: Response) -> str:
    """The reason that an answer gives, or empty; the answer is read."""
    return _cut(_reason(response)[1])


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header in either form, or None."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    return max(0.0, (moment - now).total_seconds())


def _reason(response: Response) -> tuple[str, str]:
    """Code and message of an answer.

    Gateways of AWS quote the Authorization that they do not understand.
    """
    code, said = _said(response)
    credentials = response.authorization.partition(" ")[2]
    return code, said.replace(credentials, MASK) if credentials else said


def _said(response: Response) -> tuple[str, str]:
    """Code and message of the most specific error in an answer.

    OCI distribution spec, "Error Codes"; token servers and gateways have other
    forms. Both are empty without one. The message is one short line of
    printable characters.
    """
    try:
        body = response.body(MAX_ERROR)
    except errors.StoreError:
        return "", ""
    if told := _XML_MESSAGE.search(body):
        return "", _line(html.unescape(told[1].decode(errors="replace")))
    try:
        document = json.loads(body)
        forms = (document.get(key) for key in _OTHER_FORMS)
        listed = document.get("errors") or [
            form for form in forms if form and isinstance(form, str | Mapping)
        ]
        found = [_entry(one) for one in listed]
        known = (entry for entry in found if entry.get("code") != "UNKNOWN")
        chosen = next(known, found[0])
        code, message = chosen.get("code"), chosen.get("message")
        detail = chosen.get("detail")
        if code == "UNKNOWN" and detail and isinstance(detail, str):
            message = f"{message}: {detail}"
    except errors.MALFORMED:
        # Web servers tell there what they find wrong with a request.
        title = _TITLE.search(body) if response.status == 400 else None
        return "", _line(title[1].decode(errors="replace")) if title else ""
    return str(code or ""), _line(message if isinstance(message, str) else "")


def _line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    half = line[: (len(line) - 2) // 2]
    if line == f"{half}: {half}":
        # Harbor gives many reasons twice.
        line = half
    return line


def _cut(reason: str) -> str:
    """A reason for a message, without the middle of a long one.

    Keppel quotes the labels and layers of an image before its reason.
    """
    if len(reason) <= _MAX_MESSAGE:
        return reason
    size = (_MAX_MESSAGE - len(_CUT)) // 2
    return reason[:size] + _CUT + reason[-size:]


def _entry(one: Any) -> Mapping[str, Any]:
    """An error of a list: a mapping, or only a text in some gateways."""
    if isinstance(one, str):
        return {"message": one}
    if not isinstance(one, Mapping):
        raise TypeError("neither a mapping nor a text")
    return one
