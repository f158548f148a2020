"""The places of one repository: where it is, and its mirrors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import verify
from imageprep_client.stores.registry.blob import Download
from imageprep_client.stores.registry.endpoints.registries_conf import Pull
from imageprep_client.stores.registry.repository import RepositoryRequests
from imageprep_client.stores.registry.session import RegistrySession, Request

_T = TypeVar("_T")
_Answer = tuple[_T] | errors.NotFound | errors.Refused


class Server:
    """A registry, as all repositories in it share it.

    :param connect: gives it; called for each use, with what it will be
        asked first, if that is known.
    :param down: told once that it will not be asked again.
    :ivar is_down: whether, after all retries, it did not do what it should;
        nobody waits for it a second time where there is another place.
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
        """The registry; `first` as for `RegistryClient`."""
        return self._connect(first)

    def failed(self, error: errors.StoreError) -> None:
        """From now on, others are asked."""
        if not self.is_down:
            self.is_down = True
            self._down(error)


class Replica:
    """A repository at one server.

    :ivar requests: about it.
    :param pull: which references it is used for.
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
        """Its registry; `first` as for `RegistryClient`."""
        return self.server.connect(first)

    def serves(self, reference: str) -> bool:
        """Whether it is asked for this at all.

        :param reference: a digest, or empty for what goes by tags. What a
            tag led to is still the pull of a tag.
        """
        if self.server.is_down or reference in self._bad:
            return False
        if not reference:
            return self._pull != "digest-only"
        return self._pull != "tag-only" or self._gave_tag

    def gave(self, reference: str) -> None:
        """It did what it was asked for."""
        if not reference:
            self._gave_tag = True

    def content(
        self, download: Download, descriptor: Descriptor, name: str
    ) -> verify.VerifiedContent:
        """The content; when it breaks, others are asked for it next time."""
        return _Watched(download, descriptor, name, self._bad)


class _Watched(verify.VerifiedContent):
    """Content whose digest is noted where reading it fails."""

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
        except errors.StoreError:
            self._bad.add(self.verifies.digest)
            raise


class Replicas:
    """All places of a repository.

    :ivar home: where it is; all writes go there.
    :param mirrors: what is read from first, in this order.
    """

    def __init__(self, home: Replica, mirrors: Sequence[Replica] = ()) -> None:
        self.home = home
        self._mirrors = tuple(mirrors)

    def read(
        self,
        work: Callable[[Replica], _T],
        reference: str = "",
        satisfied: Callable[[_T], bool] = lambda _: True,
    ) -> _T:
        """Do it at a mirror, or else at home, which has the last word.

        When nobody answers at home, the last mirror has it: a site without
        access to the home must not fail for what is nowhere.

        :param reference: as for `Place.serves`.
        :param satisfied: whether a mirror's result ends the search.
        """
        answer: _Answer[_T] | None = None
        for mirror in self._mirrors:
            if not mirror.serves(reference):
                continue
            try:
                result = work(mirror)
            except (errors.NotFound, errors.Refused) as error:
                answer = error
            except errors.StoreError as error:
                if error.given_up:
                    mirror.server.failed(error)
            else:
                mirror.gave(reference)
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
