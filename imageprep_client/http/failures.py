"""Short messages in place of those of the libraries."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterable, Sequence

import urllib3

from imageprep_client import errors
from imageprep_client.http import proxies, urls
from imageprep_client.http.limits import TooSlow
from imageprep_client.http.messages import Broken

#: Remedies by the codes of OpenSSL for certificates of known authorities.
_REMEDIES = dict.fromkeys(
    (9, 10), "renew the certificate, or correct the clock of this host"
) | dict.fromkeys((62, 64), "use a name that is in the certificate")

#: The error of the standard library if a proxy refuses CONNECT.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
#: The reply of a SOCKS proxy that its rules do not allow a connection.
_NOT_ALLOWED = "0x02"


def unreachable(
    url: str, error: Exception, proxy: str = ""
) -> errors.Unreachable:
    """The failure of a connection in one short line.

    :param proxy: as for `refused`.
    """
    where, scheme = urls.authority(url), urls.origin(url)[0]
    if isinstance(error, TooSlow):
        return errors.Unreachable(f"{where}: {error}", errno=errno.ETIMEDOUT)
    if isinstance(error, Broken):
        return errors.Unreachable(f"{where}: {error}")
    causes = list(_causes(error))
    via, hint = where, None
    if any(proxies.is_failure(cause, proxy) for cause in causes):
        via = f"{where} through the proxy {proxy}"
        hint = proxies.advice(url, proxy)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unverified(where, via, cause)
        if isinstance(cause, ssl.SSLError):
            return _without_tls(url, via, cause, hint)
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return errors.Unreachable(
                f"{via}: {plain(cause.strerror)}", errno=cause.errno, hint=hint
            )
    if proxy.startswith("socks") and (refusal := _socks_refusal(causes)):
        reason, status, is_final = refusal
        told = f"{where} through the proxy" if status else via
        return errors.Unreachable(
            f"{told}: {reason}",
            hint=proxies.advice(url, proxy, status),
            temporary=not is_final,
        )
    for cause in causes:
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return errors.Unreachable(
                f"{via}: timed out ({scheme})",
                errno=errno.ETIMEDOUT,
                hint=hint,
            )
    if tunnel := _TUNNEL.match(str(causes[-1])):
        return refused(url, proxy, int(tunnel[1]))
    return errors.Unreachable(
        f"{via}: connection broken ({causes[-1].__class__.__name__})"
    )


def refused(url: str, proxy: str, status: int) -> errors.Unreachable:
    """The failure of a proxy to reach a server, or its refusal.

    :param proxy: the URL of the proxy, without its password.
    """
    return errors.Unreachable(
        f"{urls.authority(url)} through the proxy: refused with {status}",
        hint=proxies.advice(url, proxy, status),
        temporary=status >= 500 or status in (408, 429),
    )


def _socks_refusal(
    causes: Sequence[BaseException],
) -> tuple[str, int | None, bool] | None:
    """A failure that PySocks reports, if any but that time has run out.

    :returns: its reason, the status of HTTP that means the same, or None if
        it is no refusal, and whether it is the same at the next attempt.
    """
    import socks  # optional, and imported by then

    if any(isinstance(cause, TimeoutError) for cause in causes):
        return None
    for cause in reversed(causes):
        if isinstance(cause, socks.ProxyError):
            # Replies of RFC 1928 are numbered: "0x02: Connection not allowed".
            reply, _, reason = str(cause).rpartition(": ")
            is_login = isinstance(cause, socks.SOCKS5AuthError)
            is_final = is_login or reply == _NOT_ALLOWED
            status = 407 if is_login else 403 if reply else None
            return plain(reason), status, is_final
    return None


def _without_tls(
    url: str, via: str, error: ssl.SSLError, hint: str | None
) -> errors.Unreachable:
    """The failure of TLS; `hint` is there if it is that of a proxy."""
    reason = str(error.reason or "TLS error").replace("_", " ")
    told = f"{via}: TLS failed ({reason.lower()})"
    if not hint and "CERTIFICATE_REQUIRED" in (error.reason or ""):
        server = urls.authority(url)
        hint = (
            "the server wants a certificate of its client: give one as"
            f" client.cert and client.key in /etc/containers/certs.d/{server}"
        )
    if error.reason != "WRONG_VERSION_NUMBER":
        return errors.Unreachable(told, hint=hint)
    remedy = (
        f"if that is meant, give --insecure-registry {urls.authority(url)}"
    )
    if hint:
        remedy = "the URL of the proxy begins with http://, not https://"
    return errors.Unreachable(
        told, hint=f"the server speaks plain HTTP; {remedy}", temporary=False
    )


def _unverified(
    where: str, via: str, error: ssl.SSLCertVerificationError
) -> errors.Unverified:
    told = f"{via}: certificate cannot be verified"
    told = f"{told} ({plain(error.verify_message)})"
    remedy = _REMEDIES.get(error.verify_code)
    if via != where:
        remedy = remedy or "give that of the proxy's authority with --cacert"
        return errors.Unverified(told, hint=remedy)
    remedy = remedy or (
        "give the certificate of its authority with --cacert or as"
        f" /etc/containers/certs.d/{where}/ca.crt"
    )
    return errors.Unverified(
        told,
        hint=f"{remedy}; or, if anyone may read and change what travels,"
        f" give --insecure-registry {where}",
    )


def plain(text: str) -> str:
    """A reason of a library in the style of our messages."""
    return text.strip().rstrip(".").lower()


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The error and what is wrapped in it, outermost first."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        queue += [
            getattr(item, "reason", None),
            *item.args,
            item.__cause__,
            item.__context__,
        ]
