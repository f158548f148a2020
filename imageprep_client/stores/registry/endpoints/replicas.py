"""The replicas of one repository: its home and its mirrors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import verify
from imageprep_client.stores.registry.blob import Download
from imageprep_client.stores.registry.endpoints.registries_conf import Pull
from imageprep_client.stores.registry.repository import (
    RepositoryRequests,
    Request,
    RequestAhead,
)
from imageprep_client.stores.registry.session import RegistrySession

_T = TypeVar("_T")
_Answer = tuple[_T] | errors.NotFound | errors.Refused


class Server:
    """A registry, shared by its repositories.

    :param connect: opens the session; called for each use, with the first
        request if it is known.
    :param down: called once when the registry will not be used any more.
    :ivar is_down: whether a request failed after all retries; then other
        replicas are used.
    """

    def __init__(
        self,
        connect: Callable[[Request | None], RegistrySession],
        down: Callable[[errors.StoreError], None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self.is_down = False
        self._down = down

    def connect(self, first: Request | None = None) -> RegistrySession:
        """The session; `first` is the first request, if it is known."""
        return self._connect(first)

    def failed(self, error: errors.StoreError) -> None:
        """Use other replicas from now on."""
        if not self.is_down:
            self.is_down = True
            self._down(error)


class Replica:
    """A repository at one server.

    :ivar requests: about it.
    :param pull: the references that it is used for.
    """

    def __init__(
        self, server: Server, requests: RepositoryRequests, pull: Pull = "all"
    ) -> None:
        self.server = server
        self.requests = requests
        self._pull = pull
        self._gave_tag = False
        self._bad: set[str] = set()

    def connect(self, first: Request | None = None) -> RegistrySession:
        """The session; `first` is the first request, if it is known."""
        return self.server.connect(first)

    def serves(self, digest: str | None) -> bool:
        """Whether the replica is used for a digest, or for tags.

        :param digest: None for tags. The content of an image that was
            resolved by tag belongs to the pull of the tag.
        """
        if self.server.is_down or digest in self._bad:
            return False
        if digest is None:
            return self._pull != "digest-only"
        return self._pull != "tag-only" or self._gave_tag

    def gave(self, digest: str | None) -> None:
        """Note that the replica served a digest, or a tag."""
        if digest is None:
            self._gave_tag = True

    def content(
        self, download: Download, descriptor: Descriptor, name: str
    ) -> verify.VerifiedContent:
        """The content; after a failure, other replicas are used for it."""
        return _Watched(download, descriptor, name, self._bad)


class _Watched(verify.VerifiedContent):
    """Content whose digest is noted if reading it fails."""

    def __init__(
        self,
        stream: Download,
        descriptor: Descriptor,
        name: str,
        bad: set[str],
    ) -> None:
        super().__init__(stream, descriptor, name)
        self._bad = bad

    def read(self, size: int = -1, /) -> bytes:
        try:
            return super().read(size)
        except errors.OutOfTime:
            # That says nothing about the replica.
            raise
        except errors.StoreError:
            self._bad.add(self.verifies.digest)
            raise


class Prefetch:
    """A request that was sent ahead."""

    def __init__(self, registry: RegistrySession, ahead: RequestAhead) -> None:
        self._registry = registry
        self._ahead = ahead
        self._response: Response | None = None

    def wait(self) -> None:
        """Wait for the response; see `RegistrySession.receive`."""
        self._response = self._registry.receive(self._ahead)

    def close(self) -> None:
        """Release the response, unless it was used."""
        if self._response is None:
            self._ahead.sent.close()
        else:
            self._registry.drop(self._response)


class Replicas:
    """All replicas of a repository.

    :ivar home: the repository itself; the only one that is written to.
    :param mirrors: the replicas that are read from first, in this order.
    """

    def __init__(self, home: Replica, mirrors: Sequence[Replica] = ()) -> None:
        self.home = home
        self._mirrors = tuple(mirrors)

    def send_ahead(self, request: Request) -> Prefetch | None:
        """As `RegistrySession.send_ahead`, to the home.

        Where there are mirrors, the one that will be read is not known.
        """
        if self._mirrors:
            return None
        registry = self.home.connect()
        ahead = registry.send_ahead(request)
        return Prefetch(registry, ahead) if ahead else None

    def read(
        self,
        work: Callable[[Replica], _T],
        digest: str | None = None,
        satisfied: Callable[[_T], bool] = lambda _: True,
    ) -> _T:
        """Do the work at a mirror, or else at the home.

        If the home is unreachable, the result of the last mirror counts, as
        some sites reach only mirrors.

        :param digest: as for `Replica.serves`.
        :param satisfied: whether the result of a mirror ends the search.
        """
        answer: _Answer[_T] | None = None
        for mirror in self._mirrors:
            if not mirror.serves(digest):
                continue
            try:
                result = work(mirror)
            except (errors.NotFound, errors.Refused) as error:
                answer = error
            except errors.StoreError as error:
                if error.given_up:
                    mirror.server.failed(error)
            else:
                mirror.gave(digest)
                if satisfied(result):
                    return result
                answer = (result,)
        if answer is None:
            return work(self.home)
        if not self.home.server.is_down:
            try:
                return work(self.home)
            except errors.Unreachable as error:
                self.home.server.failed(error)
        if isinstance(answer, errors.NotFound | errors.Refused):
            raise answer
        return answer[0]
