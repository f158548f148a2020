"""Paginated lists of a registry: tags, referrers and repositories."""

from __future__ import annotations

import functools
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.transport import Response
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.registry import description
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.session import RegistrySession

#: The page size, and the queries to use if it is refused.
PAGE = 1000
_SMALLER_PAGES = ("n=100", "")
#: Statuses of a page size that is refused.
_TOO_MANY = frozenset({400, 413, 416, 422})
MAX_PAGES = 1000
#: Bounds of names, and of referrers of one manifest, far above real ones.
MAX_NAMES = 250_000
MAX_REFERRERS = 10_000
MAX_BODY = 4 * 1024 * 1024
#: All pages of a list together.
MAX_TOTAL = 64 * 1024 * 1024

# It never backtracks: a header could otherwise take very long to parse.
# Cloudflare's registry leaves out the angle brackets.
_LINK = re.compile(
    r'(?:<([^<>]*+)>|([^\s<>,;"]++))'
    r'((?:\s*+;\s*+[^,;="]++=(?:"[^"]*+"|[^,;"]*+))*+)'
)
_NEXT = re.compile(r""";\s*rel\s*=\s*(["']?)next\1\s*(?:;|$)""", re.IGNORECASE)


def tags(registry: RegistrySession, request: Request) -> list[str]:
    """All valid tags, in the order of the registry."""
    return [
        tag
        for tag in names(registry, request, "tags")
        if references.is_tag(tag)
    ]


def names(
    registry: RegistrySession, request: Request, key: str, name: str = ""
) -> list[str]:
    """The unique strings of a paginated list, in the order of the registry.

    :param key: the key of the list in each page.
    :param name: the key of the string in each entry, if the entries are
        objects. Each page is the list itself.
    :raises Refused: if its value is no list.
    """
    unique: dict[str, None] = {}
    for document in _pages(registry, request, key, unique, is_bare=bool(name)):
        entries = document.get(key)
        if name and isinstance(entries, list):
            entries = [e.get(name) for e in entries if isinstance(e, dict)]
        if not isinstance(entries, list | None):
            raise _refused(f"{request.what}: {key} is not a list")
        unique.update((e, None) for e in entries or () if isinstance(e, str))
        if len(unique) > MAX_NAMES:
            raise _refused(f"{request.what}: over {MAX_NAMES} names")
    return list(unique)


def referrers(
    registry: RegistrySession, request: Request
) -> list[Descriptor] | None:
    """The referrers of a subject; None without the referrers API.

    :raises Refused: if the registry refuses the request other than by 404.
    """
    descriptors: dict[str, Descriptor] = {}
    try:
        for document in _pages(registry, request, "manifests", None):
            entries = document.get("manifests", False)
            if not isinstance(entries, list | None):
                raise errors.Refused(
                    f"{request.what}: the list of referrers is no index"
                )
            for entry in entries or ():
                descriptor = Descriptor.from_json(entry)
                descriptors[descriptor.digest] = descriptor
            if len(descriptors) > MAX_REFERRERS:
                raise _refused(
                    f"{request.what}: over {MAX_REFERRERS} referrers"
                )
    except errors.NotFound:
        return None
    except errors.InvalidReference as error:
        raise errors.InvalidContent(
            f"{request.what}: list of referrers: {error}"
        ) from None
    return list(descriptors.values())


def _pages(
    registry: RegistrySession,
    request: Request,
    key: str,
    names: dict[str, None] | None,
    *,
    is_bare: bool = False,
) -> Iterator[Mapping[str, Any]]:
    """The pages of a list; links are followed verbatim, on the same origin.

    A page that breaks off or makes no sense is asked for again. Where a link
    leads elsewhere or in a circle, or its page is refused or does not exist,
    the next page is asked for by the last name, as the specification has it.
    If that page has nothing new and is not the first one again, the list has
    ended: the catalog of Cloudflare's registry always links to a next page.

    :param key: the key of the list in each page.
    :param names: those of the list so far; None where it has none.
    :param is_bare: whether each page is the list itself.
    :raises NotFound: when the list does not exist.
    :raises Refused: when links lead elsewhere, in a circle, or too far.
    """
    seen: set[str] = set()
    total = 0
    path, _, query = request.url.partition("?")
    fallback: str | None = None
    after_last = False
    sizes = iter(_SMALLER_PAGES if query.startswith("n=") else ())
    for _ in range(MAX_PAGES):
        once = request._replace(repeatable=False)
        try:
            response, size, document = registry.retrier.retrying(
                request.what,
                functools.partial(_page, registry, once, key * is_bare),
            )
        except (errors.Refused, errors.NotFound) as error:
            smaller = None
            if not seen and getattr(error, "status", None) in _TOO_MANY:
                smaller = next(sizes, None)
            if smaller is not None:
                query = smaller
                request = request._replace(
                    url=f"{path}?{query}" if query else path
                )
                continue
            if fallback is None:
                if seen and isinstance(error, errors.NotFound):
                    # The list exists, and must not look absent.
                    raise errors.Refused(str(error)) from None
                raise
            request = request._replace(url=fallback)
            fallback = None
            after_last = True
            continue
        seen.add(response.url)
        known = len(names or ())
        total += size
        if total > MAX_TOTAL:
            raise _refused(f"{request.what}: a list of over {MAX_TOTAL} bytes")
        yield document
        link = _next(response.headers.get("Link", ""))
        if link is None:
            return
        if names and len(names) > known:
            last = urllib.parse.urlencode({"last": next(reversed(names))})
            fallback = f"{path}?{query}&{last}" if query else f"{path}?{last}"
        try:
            url = urls.follow(
                response.url,
                urls.with_tls_of(response.url, link),
                f"{request.what}: next page",
            )
            if not urls.same_origin(url, registry.base):
                raise _refused(
                    f"{request.what}: the next page is on another host,"
                    f" {urls.shown(url)}"
                )
            if url in seen:
                raise _refused(f"{request.what}: the pages go in a circle")
            after_last = False
        except errors.ServerFault as error:
            if fallback is None:
                if after_last and names and _is_end(document, key, names):
                    return
                raise errors.Refused(str(error)) from None
            url, fallback = fallback, None
            after_last = True
        request = request._replace(url=url)
    raise _refused(f"{request.what}: over {MAX_PAGES} pages")


def _is_end(
    document: Mapping[str, Any], key: str, names: dict[str, None]
) -> bool:
    """Whether a page after the last name is not the first one again.

    Names that are not in order may rightly come after the last one.
    """
    first, last = next(iter(names)), next(reversed(names))
    return first >= last or first not in (document.get(key) or ())


def _page(
    registry: RegistrySession, request: Request, key: str
) -> tuple[Response, int, Mapping[str, Any]]:
    """A response, its length, and its document.

    :param key: for the list that is the whole document; empty: the document
        is an object.
    """
    try:
        response = registry.call(request, {200})
    except errors.ServerFault as error:
        # Some registries fail to make the list of one repository.
        error.isolated = registry.fails_alone(error)
        raise
    data = response.body(MAX_BODY)
    return response, len(data), _document(request.what, response, data, key)


def _next(header: str) -> str | None:
    for match in _LINK.finditer(header):
        if _NEXT.search(match[3]):
            return match[1] or match[2]
    return None


def _document(
    what: str, response: Response, data: bytes, key: str
) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
        if key and isinstance(document, list):
            return {key: document}
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        message = (
            f"{what}: answer is no JSON object"
            f" (GET {urls.shown(response.url)})"
        )
        hint = description.page_hint(response)
        # Another media type is a page that another attempt gets as well.
        kind = mediatypes.essence(response.headers.get("Content-Type", ""))
        if kind and "json" not in kind:
            raise errors.Refused(message, hint=hint)
        # Damage on the way is seldom the same a few times.
        raise errors.InvalidContent(message, hint=hint, temporary=True)
    return document


def _refused(message: str) -> errors.Refused:
    return errors.Refused(message)
