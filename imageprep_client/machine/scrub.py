"""Files that belong to a single machine: identity, secrets, logs.

One list, with two uses: an export leaves these files out, and the
replacement of a root carries them over from the old root to the new one. It
is a list, and no proof that nothing else is secret.
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import stat
from collections.abc import Iterator, Sequence

from imageprep_client.host.reading import Kind, ReadableDirectory


class Category(enum.StrEnum):
    """The reason why a path is not exported."""

    IDENTITY = "identity"
    SECRET = "secret"  # noqa: S105 - a name
    #: State of a service, such as a database.
    DATA = "data"
    LOG = "log"
    #: Made again when it is needed; it is not carried over.
    VOLATILE = "volatile"

    @property
    def is_carried(self) -> bool:
        """Whether a replacement carries it over."""
        return self is not Category.VOLATILE


class Scrub(enum.Enum):
    """The treatment of a path in an export."""

    #: The file or directory is left out.
    REMOVE = "removed"
    #: The file is there, and empty.
    EMPTY = "emptied"
    #: The directory is there, without what is in it.
    CLEAR = "cleared"
    #: The directories below it are there, without their files.
    KEEP_DIRECTORIES = "files removed"
    #: Passwords in it are made invalid: it has a line for each user.
    LOCK = "passwords removed"


@dataclasses.dataclass(frozen=True, slots=True)
class ScrubbedPath:
    """A path in a root that an export leaves out or changes.

    :ivar path: relative to the root.
    """

    path: str
    category: Category
    action: Scrub


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    category: Category
    patterns: Sequence[str]
    action: Scrub = Scrub.REMOVE


#: Services whose configuration, in /etc/SERVICE, has passwords.
SERVICES = str.split("""
    adjutant aodh barbican blazar ceilometer cinder cloudkitty congress
    designate ec2api freezer glance gnocchi heat horizon ironic
    ironic-inspector keystone magnum manila masakari masakarimonitors
    mistral monasca murano neutron nova octavia openstack-dashboard panko
    placement rally sahara senlin skyline swift tacker tempest trove
    vitrage watcher zaqar zun
""")
_CONFIGURATION = ("*.conf", "*.ini", "*.conf.d", "conf.d")
#: Names in `_CONFIGURATION` that never have a password in them.
_PUBLIC = ("rootwrap.conf", "*paste.ini", "logging.conf", "policy.conf")

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.LINK,
}

_IDENTITY = str.split("""
    etc/hostname etc/hosts etc/iscsi/initiatorname.iscsi etc/machine-info
    etc/netplan/* etc/network/interfaces etc/network/interfaces.d/*
    etc/NetworkManager/system-connections/* etc/nvme/hostid
    etc/nvme/hostnqn etc/resolv.conf etc/ssh/ssh_host_*
    etc/sysconfig/network-scripts/ifcfg-*
    etc/sysconfig/network-scripts/route-* etc/systemd/network/*
    etc/udev/rules.d/70-persistent-net.rules var/lib/cloud
    var/lib/dbus/machine-id var/lib/dhcp/* var/lib/dhclient/*
    var/lib/NetworkManager/* var/lib/systemd/credential.secret
    var/lib/systemd/network/* var/lib/systemd/random-seed
""")
#: Secrets in home directories.
_HOME_SECRETS = str.split("""
    .ansible .aws .bash_history .config/openstack .config/pip/pip.conf
    .config/rclone .docker/config.json .git-credentials .gnupg .kube
    .lesshst .my.cnf .mylogin.cnf .mysql_history .netrc .pgpass
    .pip/pip.conf .psql_history .python_history .ssh .viminfo .zsh_history
    openrc *openrc.sh *-openrc *.openrc clouds.yaml secure.yaml
""")
_SECRETS = str.split("""
    etc/apt/auth.conf etc/apt/auth.conf.d/* etc/ceph/*.keyring
    etc/ceph/*.secret etc/containers/auth.json etc/corosync/authkey
    etc/etcd/* etc/group- etc/gshadow- etc/haproxy/*.cfg etc/haproxy/*.pem
    etc/haproxy/conf.d/* etc/haproxy/ssl/* etc/horizon/local_settings.py
    etc/ipsec.secrets etc/keepalived/*.conf etc/keystone/credential-keys
    etc/keystone/fernet-keys etc/keystone/ssl etc/krb5.keytab
    etc/ldap.secret etc/letsencrypt etc/libvirt/passwd.db
    etc/libvirt/secrets etc/libvirt/qemu/*.xml etc/my.cnf etc/my.cnf.d/*
    etc/mysql/*.cnf etc/mysql/*/*.cnf etc/mysql/*.pem
    etc/neutron/plugins/*/*.ini etc/octavia/certs etc/openstack
    etc/openstack_deploy etc/openstack-dashboard/local_settings*
    etc/openvswitch/*.key etc/openvswitch/*.pem etc/passwd- etc/pip.conf
    etc/pki/libvirt/private etc/pki/nova*/*key* etc/pki/qemu/*key*
    etc/pki/tls/private/* etc/pki/*/private etc/ppp/*-secrets etc/rabbitmq
    etc/rsyncd.secrets etc/shadow- etc/ssl/private/* etc/sssd/sssd.conf
    etc/ssl/*.key etc/sasl2/*.db etc/sasldb2 etc/uwsgi/*.key etc/wireguard
    var/lib/ceph/*/*/keyring var/lib/keystone/credential-keys
    var/lib/keystone/fernet-keys var/lib/rabbitmq/.erlang.cookie
    var/lib/sss/db/* var/lib/sss/secrets
    var/lib/openstack-dashboard/secret*
    var/lib/openstack-dashboard/.secret_key_store var/www/.ssh
""")
_DATA = str.split("""
    var/lib/cinder/volumes var/lib/etcd var/lib/glance/images
    var/lib/gnocchi/* var/lib/mysql var/lib/nova/instances
    var/lib/postgresql var/lib/rabbitmq/mnesia var/lib/zookeeper
""")
_VOLATILE = str.split("""
    dev proc run sys tmp var/cache/apt/archives var/cache/dnf var/cache/yum
    var/cache/man var/lib/apt/lists var/run var/tmp
""")

_RULES = (
    _Rule(Category.IDENTITY, _IDENTITY),
    _Rule(Category.IDENTITY, ("etc/machine-id",), Scrub.EMPTY),
    _Rule(
        Category.SECRET,
        [
            *(
                f"{home}/{name}"
                for home in ("root", "home/*", "var/lib/*")
                for name in _HOME_SECRETS
            ),
            *(
                f"etc/{service}/{name}"
                for service in SERVICES
                for name in _CONFIGURATION
            ),
            *_SECRETS,
        ],
    ),
    _Rule(Category.SECRET, ("etc/shadow", "etc/gshadow"), Scrub.LOCK),
    _Rule(Category.DATA, _DATA, Scrub.CLEAR),
    _Rule(Category.LOG, ("var/log",), Scrub.KEEP_DIRECTORIES),
    _Rule(Category.VOLATILE, _VOLATILE, Scrub.CLEAR),
    _Rule(
        Category.VOLATILE,
        ("root/.cache", "home/*/.cache", "var/cache/apt/*.bin"),
    ),
)


def scan(root: ReadableDirectory) -> list[ScrubbedPath]:
    """The paths that an export of this root leaves out or changes.

    Symbolic links are neither followed nor left out: they have no secrets.
    """
    paths: dict[str, ScrubbedPath] = {}
    for rule in _RULES:
        for pattern in rule.patterns:
            for path, kind in _matches(root, "", pattern.split("/")):
                if _is_subject(rule, path, kind):
                    paths.setdefault(
                        path, ScrubbedPath(path, rule.category, rule.action)
                    )
    return [
        paths[path]
        for path in sorted(paths)
        if not any(above in paths for above in _above(path))
    ]


def locked(content: bytes) -> bytes:
    """The lines of ``/etc/shadow`` without any valid password.

    Accounts without a password are locked, too: with an empty one anybody
    could log in.
    """
    lines = []
    for line in content.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 1 and not fields[1].startswith((b"*", b"!")):
            fields[1] = b"*"
        elif len(fields) > 1:
            # Behind the mark may be the password of a locked account.
            fields[1] = fields[1][:1]
        lines.append(b":".join(fields))
    return b"\n".join(lines)


def _is_subject(rule: _Rule, path: str, kind: Kind) -> bool:
    if kind is Kind.LINK:
        return False
    if rule.action in (Scrub.CLEAR, Scrub.KEEP_DIRECTORIES):
        return kind is Kind.DIRECTORY
    if rule.action in (Scrub.EMPTY, Scrub.LOCK):
        return kind is Kind.FILE
    name = path.rpartition("/")[2]
    return not any(fnmatch.fnmatchcase(name, public) for public in _PUBLIC)


def _matches(
    root: ReadableDirectory, folder: str, parts: list[str]
) -> Iterator[tuple[str, Kind]]:
    """The paths that a pattern stands for, with their kinds."""
    first, *rest = parts
    for name, kind in _candidates(root, folder, first):
        path = f"{folder}/{name}" if folder else name
        if not rest:
            yield path, kind
        elif kind is Kind.DIRECTORY:
            yield from _matches(root, path, rest)


def _candidates(
    root: ReadableDirectory, folder: str, pattern: str
) -> list[tuple[str, Kind]]:
    if "*" in pattern:
        return [
            (name, kind)
            for name, kind in root.entries(folder).items()
            if fnmatch.fnmatchcase(name, pattern)
        ]
    status = root.status(f"{folder}/{pattern}" if folder else pattern)
    if status is None:
        return []
    return [(pattern, _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER))]


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
