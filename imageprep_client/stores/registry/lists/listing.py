"""Paginated lists of a registry: tags, referrers and repositories."""

from __future__ import annotations

import functools
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
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

#: Finds the list in the document of a page.
_Parse = Callable[[Any], list[Any]]

# It never backtracks: a header could otherwise take very long to parse.
# Cloudflare's registry leaves out the angle brackets.
_LINK = re.compile(
    r'(?:<([^<>]*+)>|([^\s<>,;"]++))'
    r'((?:\s*+;\s*+[^,;="]++=\s*+(?:"(?:[^"\\]|\\.)*+"|[^,;"]*+))*+)'
)
_PARAMETER = re.compile(
    r';\s*+([^,;="\s]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^,;"]*+))'
)


def tags(registry: RegistrySession, request: Request) -> list[str]:
    """All valid tags, in the order of the registry."""
    return [
        tag
        for tag in names(registry, request, below("tags"))
        if references.is_tag(tag)
    ]


def names(
    registry: RegistrySession, request: Request, parse: _Parse
) -> list[str]:
    """The unique strings of a paginated list, in the order of the registry.

    :raises Refused: if a page has no list, or the list does not end.
    """
    unique: dict[str, None] = {}
    for page in _pages(registry, request, parse, unique):
        unique.update((name, None) for name in page if isinstance(name, str))
        if len(unique) > MAX_NAMES:
            raise _refused(f"{request.what}: over {MAX_NAMES} names")
    return list(unique)


def below(key: str, absent: Any = None) -> _Parse:
    """Finds the list of a page below a key; null is an empty one.

    :param absent: taken for the value of a key that is absent.
    """

    def parse(document: Any) -> list[Any]:
        entries = document.get(key, absent)
        if not isinstance(entries, list | None):
            raise _refused(f"{key} is not a list")
        return entries or []

    return parse


def referrers(
    registry: RegistrySession, request: Request
) -> list[Descriptor] | None:
    """The referrers of a subject; None without the referrers API.

    :raises Refused: if the registry refuses the request other than by 404, or
        answers with no index.
    :raises InvalidContent: if there is a list, and not all of it can be read.
    """
    descriptors: dict[str, Descriptor] = {}
    exists = False
    try:
        for page in _pages(
            registry, request, below("manifests", absent=False), {}
        ):
            exists = True
            for entry in page:
                descriptor = Descriptor.from_json(entry)
                descriptors[descriptor.digest] = descriptor
            if len(descriptors) > MAX_REFERRERS:
                raise _refused(
                    f"{request.what}: over {MAX_REFERRERS} referrers"
                )
    except errors.NotFound:
        return None
    except errors.Refused as error:
        if exists:
            raise errors.InvalidContent(str(error)) from None
        raise
    except errors.InvalidReference as error:
        raise errors.InvalidContent(
            f"{request.what}: list of referrers: {error}"
        ) from None
    return list(descriptors.values())


def _pages(
    registry: RegistrySession,
    request: Request,
    parse: _Parse,
    names: dict[str, None],
) -> Iterator[list[Any]]:
    """The pages of a list; links are followed verbatim, on the same origin.

    A page that breaks off or makes no sense is asked for again. Where a link
    leads elsewhere or in a circle, or its page is refused or does not exist,
    the next page is asked for by the last name, as the specification has it
    for lists whose pages have a size, ``n``. If that page has nothing new and
    is not the first one again, the list has ended: the catalog of Cloudflare's
    registry always links to a next page.

    :param names: those of the list so far.
    :raises NotFound: when the list does not exist.
    :raises Refused: when links lead elsewhere, in a circle, or too far.
    """
    seen: set[str] = set()
    total = 0
    path, _, query = request.url.partition("?")
    fallback: str | None = None
    after_last = False
    specified = query.startswith("n=")
    sizes = iter(_SMALLER_PAGES if specified else ())
    for _ in range(MAX_PAGES):
        once = request._replace(repeatable=False)
        try:
            response, size, page = registry.retrier.retrying(
                request.what, functools.partial(_page, registry, once, parse)
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
        known = len(names)
        total += size
        if total > MAX_TOTAL:
            raise _refused(f"{request.what}: a list of over {MAX_TOTAL} bytes")
        yield page
        link = _next(response.headers.get("Link", ""))
        if link is None:
            return
        if specified and len(names) > known:
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
                if after_last and names and _is_end(page, names):
                    return
                raise errors.Refused(str(error)) from None
            url, fallback = fallback, None
            after_last = True
        request = request._replace(url=url)
    raise _refused(f"{request.what}: over {MAX_PAGES} pages")


def _is_end(page: list[Any], names: dict[str, None]) -> bool:
    """Whether a page after the last name is not the first one again.

    Names that are not in order may rightly come after the last one.
    """
    first, last = next(iter(names)), next(reversed(names))
    return first >= last or first not in page


def _page(
    registry: RegistrySession, request: Request, parse: _Parse
) -> tuple[Response, int, list[Any]]:
    """A response, its length, and the list in it."""
    try:
        response = registry.call(request, {200})
    except errors.ServerFault as error:
        # Some registries fail to make the list of one repository.
        error.isolated = registry.fails_alone(error)
        raise
    data = response.body(MAX_BODY)
    return response, len(data), _entries(request.what, response, data, parse)


def _next(header: str) -> str | None:
    """The target of the link to the next page.

    The only link of some registries is a bare target, which other clients
    follow as well.
    """
    links = list(_LINK.finditer(header))
    for link in links:
        bare = len(links) == 1 and not link[3]
        if bare or "next" in _relations(link[3]):
            return (link[1] or link[2] or "").strip()
    return None


def _relations(parameters: str) -> list[str]:
    return [
        relation.strip("'").lower()
        for name, quoted, plain in _PARAMETER.findall(parameters)
        if name.lower() == "rel"
        for relation in (quoted or plain).split()
    ]


def _entries(
    what: str, response: Response, data: bytes, parse: _Parse
) -> list[Any]:
    try:
        return parse(json.loads(data))
    except errors.Refused as error:
        raise _refused(f"{what}: {error}") from None
    except errors.MALFORMED:
        message = (
            f"{what}: answer is no JSON object with a list"
            f" (GET {urls.shown(response.url)})"
        )
        hint = description.page_hint(response)
        # Another media type is a page that another attempt gets as well.
        kind = mediatypes.essence(response.headers.get("Content-Type", ""))
        if kind and "json" not in kind:
            raise errors.Refused(message, hint=hint) from None
        # Damage on the way is seldom the same a few times.
        raise errors.InvalidContent(
            message, hint=hint, temporary=True
        ) from None


def _refused(message: str) -> errors.Refused:
    return errors.Refused(message)
