"""The signature policy of this host, and the rule for an image."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.client.state import state_directory
from imageprep_client.host import disk, inputs, owners
from imageprep_client.http import urls
from imageprep_client.http.transport import TLS, Response, Timeouts, Transports
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores.registry import errors as answers
from imageprep_client.trust import lookaside, policy
from imageprep_client.trust.kept import KeptSignatures
from imageprep_client.trust.lookaside import Lookasides
from imageprep_client.trust.scopes import Subject
from imageprep_client.trust.trust import Trust

_SYSTEM = "/etc/containers"
_REDIRECTS = 5
#: For web servers with signatures.
_POLICY = RetryPolicy(attempts=6, cap=10.0)


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedRule:
    """The requirements of a policy for one image.

    :ivar policy: the policy file; empty: there is none.
    :ivar scope: the part of the policy that applies.
    :ivar requirements: in words; all have to be met.
    :ivar lookaside: where signatures beside the registry are.
    :ivar attachments: whether those in the registry are looked at.
    :ivar missing: files of keys that do not exist.
    """

    image: str
    policy: str
    scope: str
    requirements: Sequence[str]
    lookaside: str
    attachments: bool
    missing: Sequence[str]


def show_rule(image: str, path: str | None = None) -> AppliedRule:
    """The requirements that would apply to an image; nothing is fetched.

    :param path: the policy file; None: that of the user or host.
    :raises InputError: when the policy or the name cannot be used.
    """
    subject = Subject.of(Reference.parse(image))
    opening = Opening(path)
    rule = opening.trust.rule(subject)
    applied = opening.trust.policy
    lookasides = opening.lookasides()
    return AppliedRule(
        str(subject.reference or image),
        applied.path if applied else "",
        rule.scope,
        [str(one) for one in rule.requirements],
        lookasides.location(subject) if subject.reference else "",
        lookasides.uses_attachments(subject),
        [
            key
            for one in rule.requirements
            if isinstance(one, policy.SignedBy | policy.SigstoreSigned)
            for key in one.keys.missing
        ],
    )


def check(path: str | None) -> None:
    """Read the configuration of signatures, so that errors are found early.

    :param path: the policy file; None: that of the user or host.
    :raises InvalidFile: when a file cannot be used.
    """
    if _policy(path, os.environ, pathlib.Path.home()):
        Opening(path).lookasides()


class Opening:
    """Opens the trust of this host, once, when it is first needed.

    :param path: the policy file; None: that of the user or host.
    :param cacert: authorities of web servers to trust beside the system's.
    :param remote: whether lookasides on web servers may be asked.
    :param observer: is told of attempts at them that failed.
    """

    def __init__(
        self,
        path: str | None,
        cacert: str | None = None,
        *,
        remote: bool = True,
        observer: Observer | None = None,
    ) -> None:
        self._remote = remote
        self._stop = threading.Event()
        self._retrier = Retrier(_POLICY, observer or Observer(), self._stop)
        self._answered: set[str] = set()
        self._home = pathlib.Path.home()
        self._transports = Transports(4)
        self._tls = TLS(ca_files=(cacert,) if cacert else ())
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._path = path
        self._kept = KeptSignatures(state_directory("trust"))

    @property
    def trust(self) -> Trust:
        """The policy and where signatures are.

        :raises InvalidFile: when the policy cannot be used.
        """
        with self._lock:
            if self._trust is None:
                self._trust = Trust(
                    _policy(self._path, os.environ, self._home),
                    self.lookasides,
                    self._kept,
                    self._fetch,
                )
            return self._trust

    def lookasides(self) -> Lookasides:
        """The configuration of lookasides.

        :raises InvalidFile: when it cannot be used.
        """
        own = self._home / ".config/containers/registries.d"
        return lookaside.load(
            # Unlike Path, os.path returns False without permission.
            str(own if os.path.exists(own) else f"{_SYSTEM}/registries.d"),
            "/var/lib/containers/sigstore"
            if os.geteuid() == 0
            else str(self._home / ".local/share/containers/sigstore"),
        )

    def close(self) -> None:
        self._stop.set()
        self._transports.close()
        self._kept.close()

    def _fetch(self, url: str) -> bytes | None:
        """A signature; None where there is none.

        :raises StoreError: after all retries.
        """
        if not self._remote:
            return None
        return self._retrier.retrying(urls.shown(url), lambda: self._read(url))

    def _read(self, url: str) -> bytes | None:
        for _ in range(_REDIRECTS):
            if urls.origin(url)[0] not in ("http", "https"):
                break
            response = self._send(url)
            if response.status == 200:
                return response.body(lookaside.MAX_SIZE)
            response.discard()
            if response.status == 404:
                return None
            target = response.headers.get("Location", "")
            if response.status not in urls.REDIRECTS or not target:
                raise _refusal(url, response)
            url = urls.follow(url, target, "signature")
        raise errors.ServerFault(
            f"{urls.shown(url)}: no signature can be read from there",
            temporary=False,
        )

    def _send(self, url: str) -> Response:
        server = urls.authority(url)
        if server not in self._answered:
            self._retrier.check(server)
        transport = self._transports.of(self._tls)
        try:
            response = transport.send("GET", url, {}, None, Timeouts().pair)
        except errors.Unreachable as error:
            if server not in self._answered:
                error.unknown = server
            raise
        self._answered.add(server)
        return response


def _refusal(url: str, response: Response) -> errors.ServerFault:
    status = response.status
    told = f"{urls.shown(url)}: HTTP status {status}"
    if status in answers.LIMITED:
        wait = answers.retry_after(response.headers)
        return errors.TooManyRequests(told, retry_after=wait, status=status)
    return errors.ServerFault(
        told, status=status, temporary=answers.is_unwell(response)
    )


def _policy(
    path: str | None, environment: Mapping[str, str], home: pathlib.Path
) -> policy.Policy | None:
    if path is not None:
        return policy.parse(inputs.load(path), path)
    configuration = environment.get("XDG_CONFIG_HOME") or home / ".config"
    for directory in (f"{configuration}/containers", _SYSTEM):
        default = os.path.join(directory, "policy.json")
        if os.path.lexists(default):
            _check_owner(pathlib.Path(default).absolute())
            return policy.parse(inputs.load(default), default)
    return None


def _check_owner(path: pathlib.Path) -> None:
    """Check that nobody but root and this user can have written a policy.

    One in the home of another user is not taken unasked, as ``sudo -E`` and
    the like would have it.

    :raises InvalidFile, AccessDenied: when it is a stranger's.
    """
    with disk.reported(path), owners.opened_parent(path) as (directory, name):
        try:
            statuses = (
                os.stat(name, dir_fd=directory, follow_symlinks=False),
                os.fstat(directory),
            )
        except FileNotFoundError:
            # Reading it tells.
            return
    for status in statuses:
        if not owners.is_trusted(status.st_uid):
            raise errors.InvalidFile(
                str(path),
                "it or its directory belongs to"
                f" {owners.user_name(status.st_uid)}, neither root nor this"
                " user",
                hint="name the policy that is meant with --signature-policy",
            )
