"""Definitions of service containers in the forms that deployments have.

The names, options and mounts are those that services of a node need; the
values are the tests' own.
"""

from __future__ import annotations

from typing import Any

_HOSTS = "/etc/hosts:/etc/hosts:ro"
_TIME = "/etc/localtime:/etc/localtime:ro"


def _kolla(*volumes: str, **more: Any) -> dict[str, Any]:
    """A container of TripleO that runs kolla_start."""
    return {
        "start_order": 2,
        "command": "kolla_start",
        "net": "host",
        "privileged": False,
        "restart": "always",
        "environment": {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"},
        "volumes": [
            _HOSTS,
            _TIME,
            "/etc/hostname:/var/lib/kolla/config.json:ro",
            *volumes,
        ],
        "healthcheck": {"test": "/openstack/healthcheck"},
        **more,
    }


#: Startup configuration as paunch reads it, without images.
TRIPLEO: dict[str, dict[str, Any]] = {
    "nova_compute": _kolla(
        "/dev:/dev",
        "/srv:/var/lib/nova:shared",
        ipc="host",
        user="nova",
        privileged=True,
        ulimit=["nofile=1024", "memlock=67108864"],
        depends_on=[],
    ),
    "nova_libvirt": _kolla(
        "/dev:/dev",
        "/sys/fs/cgroup:/sys/fs/cgroup",
        "/srv:/var/lib/libvirt:shared",
        pid="host",
        privileged=True,
        cgroupns="host",
        ulimit=["nofile=1024:4096"],
        stop_grace_period=60,
    ),
    "nova_virtlogd": _kolla(pid="host", privileged=True),
    "nova_migration_target": _kolla(user="root", privileged=True),
    "ovn_controller": _kolla(
        "/usr/lib:/lib/modules:ro",
        "/run:/run",
        privileged=True,
        user="root",
        depends_on=[],
    ),
    "ovn_metadata_agent": _kolla(
        "/run:/run/netns:shared", pid="host", privileged=True, cgroupns="host"
    ),
    "neutron_dhcp": _kolla(
        pid="host", privileged=True, ulimit=["nofile=1024"]
    ),
    "neutron_l3": _kolla(pid="host", privileged=True),
    "neutron_api": _kolla(user="neutron"),
    "iscsid": _kolla("/dev:/dev", privileged=True),
    "multipathd": _kolla("/dev:/dev", privileged=True),
    "ceilometer_compute": _kolla("/run:/run:ro"),
    "logrotate_crond": _kolla(pid="host", user="root"),
    "keystone": _kolla(environment=["A=b c", "EMPTY="]),
    "glance_api": _kolla(cap_add=["NET_ADMIN"]),
    "memcached": _kolla(
        command=["/bin/sh", "-c", "exec sleep $TIME # 'quoted' \"twice\""],
        mem_limit="256m",
    ),
    "haproxy": _kolla(log_tag="haproxy", hostname="balancer"),
    "redis": _kolla(tmpfs=["/run"], stop_signal="SIGINT"),
    "mysql": _kolla(
        cap_drop=["MKNOD"], extra_hosts=["db:192.0.2.7"], group_add=["5"]
    ),
    "rabbitmq": _kolla(
        security_opt=["label=disable", "seccomp=unconfined"],
        cpu_shares=512,
        labels={"role": "message queue"},
    ),
}

_UNIT = """# config_hash=0123456789abcdef
[Unit]
Description={name} container
After=network-online.target

[Container]
ContainerName={name}
Image={image}
{lines}
Environment=KOLLA_CONFIG_STRATEGY=COPY_ALWAYS
Volume=/etc/hosts:/etc/hosts:ro
Volume=/etc/hostname:/var/lib/kolla/config.json:ro
Label=managed_by=edpm_ansible
Label=container_name={name}

[Service]
Restart=always
TimeoutStartSec=900
TimeoutStopSec=84

[Install]
WantedBy=multi-user.target
"""
#: The lines of Quadlet files that differ.
EDPM: dict[str, tuple[str, ...]] = {
    "nova_compute": (
        "Network=host",
        "User=nova",
        "PodmanArgs=--privileged --pid=host --cgroupns=host",
        "Volume=/run:/run",
    ),
    "ovn_controller": ("Network=host", "PodmanArgs=--privileged"),
    "ovn_metadata_agent": (
        "Network=host",
        "PodmanArgs=--privileged --pid=host",
        "Volume=/run:/run/netns:shared",
    ),
    "neutron_dhcp_agent": ("Network=host", "PodmanArgs=--pid=host"),
    "neutron_sriov_agent": ("Network=host", "User=neutron"),
    "iscsid": ("Network=host", "Volume=/dev:/dev"),
    "multipathd": ("Network=host", "PodmanArgs=--cap-add=SYS_ADMIN"),
    "node_exporter": (
        "Network=host",
        "User=root",
        'Exec=/bin/sh -c "exec sleep 5"',
        'Environment="A=b c" D=e',
    ),
    "ceilometer_agent_compute": (
        "Network=host",
        "AddCapability=NET_ADMIN NET_RAW",
        "PodmanArgs=--security-opt=label=disable \\",
        "  --ulimit=nofile=1024:4096",
    ),
}


def quadlet(name: str, image: str) -> str:
    """One of the files of `EDPM`."""
    return _UNIT.format(name=name, image=image, lines="\n".join(EDPM[name]))


def _api(name: str, **more: Any) -> dict[str, Any]:
    """The container that kolla-ansible asks podman's API to create."""
    return {
        "name": name,
        "command": ["kolla_start"],
        "env": {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", "LONG": "a b 'c'"},
        "netns": {"nsmode": "host"},
        "mounts": [
            {
                "type": "bind",
                "source": "/etc/localtime",
                "destination": "/etc/localtime",
                "options": ["ro", "rbind", "rprivate"],
            }
        ],
        "volumes": [{"Name": "kolla_logs", "Dest": "/var/log/kolla"}],
        "restart_policy": "no",
        "labels": {"kolla_service": name},
        **more,
    }


_HOST = {"nsmode": "host"}
#: Bodies of requests to the API, without images.
KOLLA: list[dict[str, Any]] = [
    _api("nova_compute", privileged=True, ipcns=_HOST),
    _api("nova_libvirt", privileged=True, pidns=_HOST, cgroupns=_HOST),
    _api("nova_ssh", stop_timeout=60),
    _api("neutron_dhcp_agent", privileged=True, pidns=_HOST),
    _api(
        "neutron_server",
        healthconfig={
            "Test": ["CMD-SHELL", "healthcheck_port neutron 5672"],
            "Interval": 30 * 10**9,
            "Timeout": 30 * 10**9,
            "StartPeriod": 5 * 10**9,
            "Retries": 3,
        },
    ),
    _api("ovn_controller", cap_add=["NET_ADMIN", "SYS_NICE"]),
    _api("openvswitch_db", user="0:0", work_dir="/srv"),
    _api("mariadb", r_limits=[{"type": "nofile", "soft": 64, "hard": 64}]),
    _api("cron", entrypoint=["/bin/sh", "-c"], command=["exec sleep 5"]),
    _api(
        "memcached",
        resource_limits={"memory": {"limit": 1 << 28}},
        cap_drop=["MKNOD"],
        hostadd=["db:192.0.2.7"],
        unmask=[],
        restart_policy="on-failure",
        restart_tries=4,
    ),
]
