"""The keys of ``.nspawn`` files, by the version of systemd that added them.

Versions before `OLDEST` are not supported. A newer systemd ignores a key that
it does not know and only logs it, so an unknown key is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imageprep_client import errors

#: The oldest supported version; keys are known up to version 262.
OLDEST = 252
#: The first version that takes ``MACVLAN=host:inside``.
RENAMES_MACVLAN = 254

_LIMITS = (
    "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS"
    " RTPRIO RTTIME SIGPENDING STACK"
)
_EXEC = (
    "Boot Ephemeral ProcessTwo Parameters Environment User WorkingDirectory"
    " PivotRoot Capability DropCapability AmbientCapability NoNewPrivileges"
    " KillSignal Personality MachineID PrivateUsers NotifyReady"
    " SystemCallFilter OOMScoreAdjust CPUAffinity Hostname ResolvConf"
    " Timezone LinkJournal SuppressSync"
)
_FILES = (
    "ReadOnly Volatile Bind BindReadOnly BindUser TemporaryFileSystem"
    " Inaccessible Overlay OverlayReadOnly PrivateUsersOwnership"
)
_NETWORK = (
    "Private VirtualEthernet VirtualEthernetExtra Interface MACVLAN IPVLAN"
    " Bridge Zone Port"
)
#: The version that added each key, by section.
SINCE: Mapping[str, Mapping[str, int]] = {
    "Exec": {
        **dict.fromkeys(_EXEC.split(), OLDEST),
        **{f"Limit{name}": OLDEST for name in _LIMITS.split()},
        "PrivateUsersDelegate": 261,
        "RestrictAddressFamilies": 261,
    },
    "Files": {**dict.fromkeys(_FILES.split(), OLDEST), "BindUserShell": 258},
    "Network": {
        **dict.fromkeys(_NETWORK.split(), OLDEST),
        "NamespacePath": 259,
    },
}
_BOOLEAN = "yes no true false on off 1 0"
_BOOLEANS = (
    "Boot Ephemeral ProcessTwo NoNewPrivileges NotifyReady SuppressSync"
    " ReadOnly Private VirtualEthernet"
)
#: The version that added each value of keys that have only some values.
_VALUES: Mapping[str, Mapping[str, int]] = {
    "PrivateUsers": {
        **dict.fromkeys(f"{_BOOLEAN} pick identity".split(), OLDEST),
        "managed": 258,
    },
    "PrivateUsersOwnership": {
        **dict.fromkeys(["off", "chown", "map", "auto"], OLDEST),
        "foreign": 258,
    },
    "LinkJournal": dict.fromkeys(
        ["no", "host", "try-host", "guest", "try-guest", "auto"], OLDEST
    ),
    "Volatile": dict.fromkeys(f"{_BOOLEAN} state overlay".split(), OLDEST),
    "ResolvConf": dict.fromkeys(
        [
            *["off", "delete", "auto"],
            *(
                f"{how}-{which}"
                for how in ("copy", "replace", "bind")
                for which in ("host", "static", "uplink", "stub")
            ),
        ],
        OLDEST,
    ),
    **{
        key: dict.fromkeys(_BOOLEAN.split(), OLDEST)
        for key in _BOOLEANS.split()
    },
}
#: A value of ``PrivateUsers`` that is not a word of its list.
_USERS = re.compile(r"[0-9]{1,10}(:[0-9]{1,10})?")


def check_version(version: int) -> None:
    """Check that the keys of this version of systemd are known.

    :raises InvalidArgument: when it is too old.
    """
    if version < OLDEST:
        raise errors.InvalidArgument(
            f"systemd {version}: not supported",
            hint=f"versions from {OLDEST} on are",
        )


def check(section: str, key: str, value: str, version: int) -> str:
    """The reason why a version of systemd would not take a setting.

    :returns: the reason, without key and value; empty when it takes it.
    """
    since = SINCE[section].get(key)
    if since is None:
        others = [name for name in SINCE if key in SINCE[name]]
        if others:
            return f"is a key of [{others[0]}]"
        return "is not known to systemd-nspawn"
    if version < since:
        return f"is known from systemd {since} on, not to {version}"
    values = _VALUES.get(key)
    if values is None or (key == "PrivateUsers" and _USERS.fullmatch(value)):
        return ""
    if value not in values:
        return f"{value!r} is none of: {', '.join(values)}"
    if version < values[value]:
        return f"{value!r} is known from systemd {values[value]} on"
    return ""
