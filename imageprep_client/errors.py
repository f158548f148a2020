"""The errors of the package, one tree.

::

    ImagePrepError
    |-- InputError                 the input of the user is invalid
    |   |-- InvalidReference       a name, tag, digest or descriptor
    |   |-- InvalidFile            a file, with the path of the key in it
    |   `-- InvalidArgument        an option of the command line
    |-- StoreError                 a store could not do what was asked
    |   |-- OutOfTime              the time limit of an image is over
    |   |-- NotFound               the content or tag is not there
    |   |-- AccessDenied           401, 403, or permissions of a file
    |   |-- Unreachable            the other side does not answer
    |   |   `-- Unverified         its certificate cannot be verified
    |   |-- ServerFault            an answer that breaks the protocol, or 5xx
    |   |   |-- Refused            the request is not supported, or not so
    |   |   |   `-- CannotUntag    a tag cannot be removed alone
    |   |   |-- PartsUnknown       parts of a manifest are unknown, yet pushed
    |   |   `-- TooManyRequests    429 to the end of all retries
    |   |-- InvalidContent         bytes that are not what they should be
    |   |   |-- DigestMismatch
    |   |   `-- SizeMismatch
    |   |-- NoSpace                the destination's disk is full
    |   `-- LocalStorageError      buildah, or what it works on, failed
    |-- CopyError                  a copy failed: which side, which image
    |-- ModifyError                an image could not be changed
    |-- DiscoveryError             a tag could not be discovered
    |-- CloudError                 a cloud or its service cannot be used
    |-- PlanError                  a deployment plan cannot be used
    |   `-- PlanConflict           it was changed at the same time
    `-- CombinedFailure            images failed; nothing was changed
        `-- PartialFailure         some images failed after work had begun

Wording: the object, what happened, the evidence; lower case, no full stop,
secrets redacted. ``hint`` is what the user can do about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from errno import ETIMEDOUT
from typing import Literal, TypedDict, Unpack

Origin = Literal["source", "destination"]


def printable(text: object) -> str:
    """The text on one line, with control characters escaped.

    Names that registries, images and files give may hold escape sequences
    for a terminal, and line breaks that forge lines of a log.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else repr(char)[1:-1] for char in text
    )


class _More(TypedDict, total=False):
    """The arguments that all errors take; see `ImagePrepError`."""

    hint: str | None
    temporary: bool | None


class ImagePrepError(Exception):
    """Root of everything this package raises on purpose.

    Its message is printable and one line.

    :ivar hint: a remedy to show below the message, or None.
    :param temporary: whether a later attempt may succeed, where that differs
        from the rule of the class; only retry policies read it.
    :ivar given_up: whether a retry policy has given up after attempts that
        might have succeeded; no other policy begins again.
    """

    temporary = False
    given_up = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        temporary: bool | None = None,
    ) -> None:
        super().__init__(printable(message))
        self.hint = hint and printable(hint)
        if temporary is not None:
            self.temporary = temporary


class InputError(ImagePrepError):
    """The input of the user is invalid; nothing was done."""


class InvalidReference(InputError):
    """A name, tag, digest or descriptor breaks the grammar."""


class InvalidFile(InputError):
    """A file cannot be used.

    :ivar path: the file, as the user named it.
    :ivar key: where in the file, such as
        ``parameter_defaults.ContainerImagePrepare[0].set.tag``; empty for
        the whole file.
    """

    def __init__(
        self,
        path: str,
        problem: str,
        *,
        key: str = "",
        hint: str | None = None,
    ) -> None:
        where = f"{path}: {key}" if key else path
        super().__init__(f"{where}: {problem}", hint=hint)
        self.path = path
        self.key = key
        self.problem = problem


class InvalidArgument(InputError):
    """An option or its value cannot be used."""


class StoreError(ImagePrepError):
    """A store could not do what was asked of it."""


class NotFound(StoreError):
    """The content or the tag is not in the store."""


class OutOfTime(StoreError):
    """The time limit of an image has expired."""


class AccessDenied(StoreError):
    """The store refuses: credentials, rights, or file permissions."""


class Unreachable(StoreError):
    """The other side does not answer, or cannot be trusted.

    :ivar errno: of the system's or the resolver's error, None where there
        was none.
    :ivar unknown: ``host[:port]`` of a server that never answered, or empty.
    :ivar proxy: the URL of the proxy that read the request, or empty.
    """

    temporary = True
    unknown = ""
    proxy = ""

    def __init__(
        self, message: str, *, errno: int | None = None, **more: Unpack[_More]
    ) -> None:
        super().__init__(message, **more)
        self.errno = errno

    @property
    def is_timeout(self) -> bool:
        """Whether a timeout of this package or of the system expired."""
        return self.errno == ETIMEDOUT


class Unverified(Unreachable):
    """The certificate of the other side cannot be verified."""

    temporary = False


class ServerFault(StoreError):
    """The other side failed or broke the protocol.

    :ivar status: of its answer, None where that is not the reason.
    :ivar isolated: whether the other side works apart from this: it answered
        another request right afterwards, or this one with nothing usable.
    :ivar served: how many requests of the same kind a server that limits
        requests has taken so far; None for any other failure.
    """

    temporary = True
    isolated = False
    served: int | None = None

    def __init__(
        self, message: str, *, status: int | None = None, **more: Unpack[_More]
    ) -> None:
        super().__init__(message, **more)
        self.status = status


class Refused(ServerFault):
    """The other side does not support the request.

    Some registries answer all optional requests like this, instead of 404.
    """

    temporary = False


class CannotUntag(Refused):
    """The other side does not remove a tag and leave its manifest."""


class PartsUnknown(ServerFault):
    """A registry takes no manifest: it does not know parts that it has."""

    isolated = True


class TooManyRequests(ServerFault):
    """The registry limits the rate.

    :ivar retry_after: seconds that the registry asks to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        hint = None
        if retry_after and retry_after >= 60:
            hint = (
                f"the registry asks to wait {round(retry_after / 60)} min;"
                " without a login it may permit fewer requests"
            )
        super().__init__(message, status=status, hint=hint)
        self.retry_after = retry_after


class InvalidContent(StoreError):
    """The bytes are not the expected content."""


class UnsupportedManifest(InvalidContent):
    """The bytes are a manifest of a kind that this package does not read."""


class DigestMismatch(InvalidContent):
    """The digest of the bytes differs from that in the descriptor.

    :ivar actual: the digest that they have; None where only the other side
        says that the digest is wrong.
    """

    temporary = True

    def __init__(
        self, message: str, *, actual: str | None = None, **more: Unpack[_More]
    ) -> None:
        super().__init__(message, **more)
        self.actual = actual


class SizeMismatch(InvalidContent):
    """The number of bytes differs from that in the descriptor."""

    temporary = True


class PolicyRefused(StoreError):
    """The signature policy of this host does not accept an image."""


class NoSpace(StoreError):
    """The destination has not enough free space.

    :ivar needed: bytes that the copy needs, or None where unknown.
    :ivar free: bytes that are free, or None where unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        needed: int | None = None,
        free: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free


class LocalStorageError(StoreError):
    """Images in local storage, or the program that has them, failed."""


class CopyError(ImagePrepError):
    """One image could not be copied; its cause is the error under it.

    :ivar operation: the step that failed, such as ``"fetch layer"``.
    :ivar origin: the side that failed.
    :ivar reference: the image, as the user knows it.
    """

    def __init__(
        self, operation: str, origin: Origin, reference: str, cause: Exception
    ) -> None:
        told = str(cause)
        # A registry's message about an image begins with its name already.
        if not told.startswith(reference):
            told = f"{reference}: {operation} ({origin}): {told}"
        super().__init__(told, hint=getattr(cause, "hint", None))
        self.operation = operation
        self.origin = origin
        self.reference = reference
        self.__cause__ = cause


class PreloadError(ImagePrepError):
    """A site or a node lacks an image."""


class ModifyError(ImagePrepError):
    """An image could not be changed, and has no result.

    :ivar log: the last lines of what did it, without secrets.
    """

    def __init__(
        self, message: str, *, log: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.log = tuple(log)


class DiscoveryError(ImagePrepError):
    """No tag could be discovered for an image."""


class CloudError(ImagePrepError):
    """The cloud, or one of its services, cannot be used.

    :ivar status: the HTTP status of the response, or None without one.
    """

    def __init__(
        self, message: str, *, status: int | None = None, **more: Unpack[_More]
    ) -> None:
        super().__init__(message, **more)
        self.status = status


class PlanError(ImagePrepError):
    """A deployment plan is missing, broken, or not a plan."""


class PlanConflict(PlanError):
    """A file of a plan is not what was to be replaced."""

    temporary = True


class CombinedFailure(ImagePrepError):
    """Several images failed, and nothing was changed.

    :ivar failures: one error per image that failed, in order.
    """

    def __init__(
        self,
        message: str,
        failures: Sequence[ImagePrepError] = (),
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.failures = tuple(failures)


class PartialFailure(CombinedFailure):
    """Some images failed after work had begun; others may be complete."""


#: The errors of parsing a document of others, and of reading its parts.
MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def structure(error: Exception) -> str:
    """The fault of a parsed document, by the error of reading its parts."""
    if isinstance(error, KeyError):
        return f"it has no {str(error.args[0])[:50]!r}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON (line {error.lineno})"
    if isinstance(error, ImagePrepError | ValueError):
        return str(error)[:200]
    return "its parts are not of the expected types"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint for a name that may be a mistyped one of the known names."""
    # Only mistakes pay for it.
    import difflib

    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}?" if near else None


def as_root(error: OSError) -> str | None:
    """The hint for an error of the system that is one of permissions."""
    return "run it as root" if isinstance(error, PermissionError) else None


def reason(error: BaseException) -> str:
    """The root cause of another library's error, in one line."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror.lower()
        at = at.__cause__ or at.__context__
    return " ".join(str(error).split())
