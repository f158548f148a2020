"""Passwords that a registry gets itself: whether they are sent again."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.challenges import parse_challenges
from imageprep_client.stores.registry.auth.turns import Turn

#: The refusals after which a password is taken for wrong.
_WRONG_AT_MOST = 3


class Passwords:
    """The passwords for one registry, shared by all threads.

    Directories behind registries (LDAP) lock users out who send a wrong
    password several times. The version check tells of the password for a whole
    registry. If it does not tell, and for passwords of namespaces, the
    requests do that they are sent with.

    :param host: of the registry, for messages.
    :param check: sends the version check with these headers.
    :param wanted: the challenge of the version check, or None.
    """

    def __init__(
        self,
        host: str,
        check: Callable[[Mapping[str, str]], Response],
        wanted: Callable[[], str | None],
        retrier: Retrier,
    ) -> None:
        self._host = host
        self._check = check
        self._wanted = wanted
        self._retrier = retrier
        self._turn = Turn(retrier.stop)
        # The refusal by the version check, or whether it answered.
        self._checked: errors.StoreError | bool | None = None
        self._checks_left = _WRONG_AT_MOST
        self._refusals: Counter[str] = Counter()
        self._accepted: set[str] = set()

    def usable(self, basic: str, is_own: bool) -> bool:
        """Whether to send an Authorization, by all that is known of it.

        :param is_own: whether it is that for the whole registry.
        :raises AccessDenied: if the version check refuses it.
        """
        if is_own and not isinstance(self._checked, bool):
            self._ask(basic)
        if self._refusals[basic] < _WRONG_AT_MOST or basic in self._accepted:
            return True
        return is_own and self._checked is True and bool(self._wanted())

    def refused(self, basic: str) -> None:
        """Note the refusal of a request with it."""
        self._refusals[basic] += 1

    def accepted(self, basic: str) -> None:
        """Note that it answered a challenge."""
        self._accepted.add(basic)

    def _ask(self, basic: str) -> None:
        """Let the version check tell; again only while the registry fails."""
        with self._turn.taken():
            if self._checked is None:
                self._retrier.wait()
                self._checks_left -= 1
                response = self._check({"Authorization": basic})
                if _refuses(response):
                    self._checked = answers.from_response(
                        response, f"{self._host}: login"
                    )
                elif not (answers.is_unwell(response) and self._checks_left):
                    self._checked = response.status == 200
                response.discard()
            if isinstance(self._checked, errors.StoreError):
                # Callers change the error that they get.
                raise copy.copy(self._checked)


def _refuses(response: Response) -> bool:
    """Whether a registry refuses a password, and not passwords as such."""
    challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
    offered = {challenge.scheme for challenge in challenges} or {"basic"}
    return response.status == 401 and "basic" in offered
