"""Names of OpenStack-Ansible's containers, and the services in them."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

# Until 2023.2 HOST_GROUP_container-HASH, since 2024.1 with dashes.
_CONTAINER = re.compile(r"(?P<name>.+)[_-]container-[0-9a-f]{8}")
#: The containers that OpenStack-Ansible and its add-ons have.
SERVICES = frozenset(
    str.split("""
    adjutant aodh barbican blazar ceilometer_central ceph_mon ceph_mds
    ceph_osd cinder_api cinder_backup cinder_scheduler cinder_volumes
    cloudkitty_api cloudkitty_engine congress_server designate
    elastic_logstash etcd freezer_api galera glance gnocchi haproxy heat
    heat_api heat_apis heat_engine horizon ironic_api ironic_compute
    ironic_conductor ironic_inspector kafka keystone kibana log logstash
    magnum manila_api manila_data manila_share masakari_api memcached
    mistral mistral_server mon murano neutron_agent neutron_agents
    neutron_ovn_northd neutron_server nova_api nova_api_container
    nova_api_metadata nova_api_os_compute nova_api_placement nova_cert
    nova_conductor nova_console nova_scheduler octavia octavia_server
    opendaylight panko pkg_repo placement qdrouterd rabbit_mq rally repo
    rsyslog sahara skyline swift_acc swift_cont swift_obj swift_proxy
    tacker trove trove_api trove_conductor trove_taskmanager unbound
    utility watcher zaqar zookeeper zun_api
""")
)
_NUMBERED = re.compile(r".*[0-9]")


def service(name: str, variables: Mapping[str, object] | None = None) -> str:
    """The service of a container, such as ``nova_api``; empty: unknown.

    Underscores are in it where the name of the container may have dashes, so
    that a deployment with names of both forms has one name for a service.

    :param variables: those of the container in an inventory; its
        ``component`` is the service, and ``physical_host`` begins its name;
        so may the name of this host.
    """
    variables = variables or {}
    component = variables.get("component")
    if isinstance(component, str) and component:
        return component.replace("-", "_")
    match = _CONTAINER.fullmatch(name)
    if match is None:
        return ""
    text = match["name"]
    physical = variables.get("physical_host")
    hosts = physical, socket.gethostname().partition(".")[0]
    for known in hosts:
        if not known or not isinstance(known, str):
            continue
        rest = text.removeprefix(known)
        if rest != text and rest[:1] in ("_", "-") and rest[1:]:
            return rest[1:].replace("-", "_")
    if "_" in text:
        # A host name has no underscore.
        return text.partition("_")[2].replace("-", "_")
    return _after_host(text.split("-"))


def _after_host(parts: list[str]) -> str:
    """The service, after a host whose name may have dashes."""
    # The longest known service that leaves a host before it.
    for start in range(1, len(parts)):
        if (known := "_".join(parts[start:])) in SERVICES:
            return known
    numbered = [
        number
        for number, part in enumerate(parts[:-1])
        if _NUMBERED.fullmatch(part)
    ]
    start = numbered[-1] + 1 if numbered else 1
    return "_".join(parts[start:])
