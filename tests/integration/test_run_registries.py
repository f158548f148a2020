"""``run`` between docker-registries of all kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.stores.base import ReadableStore
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests import servers
from tests.functional.base import OpenStack
from tests.functional.deployment import PLAIN, TABLE
from tests.once import ONE_ATTEMPT

PASSWORD = "Zz9Secret"
UNDERCLOUD = "[2001:db8::1]:8787"
NAME = "ns/openstack-keystone"
_ZSTD = f"{mediatypes.OCI_LAYER}+zstd"
_DOCKER_LAYER = mediatypes.DOCKER_LAYER_GZIP.removesuffix(".gzip")

#: An image of OCI's and one of docker's, with all that layers can be.
IMAGES = {
    "oci": content.image(
        "oci",
        [
            content.blob(kind, 200_000, kind)
            for kind in (
                mediatypes.OCI_LAYER,
                mediatypes.OCI_LAYER_GZIP,
                _ZSTD,
            )
        ],
    ),
    "docker": content.image(
        "docker",
        [
            content.blob(kind, 200_000, kind)
            for kind in (_DOCKER_LAYER, mediatypes.DOCKER_LAYER_GZIP)
        ],
        docker=True,
    ),
}


class Site:
    """A home with an environment, and the command that runs over it."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.openstack = OpenStack(home)
        self.tree = home / "tree"
        self.tree.mkdir()
        self.table("{{namespace}}")

    def table(self, namespace: str) -> None:
        """Let the image be in this namespace."""
        text = TABLE.replace("{{namespace}}", namespace)
        (self.home / "table.j2").write_text(text)

    def run(
        self,
        source: str,
        push_destination: str = "",
        *words: str,
        tag: str = "oci",
        stderr: str = "",
        status: int = 0,
        **parameters: object,
    ) -> dict[str, Any]:
        """Run; gives the parameters that were written.

        :param push_destination: by default the tree.
        """
        if not push_destination:
            push_destination = UNDERCLOUD
            words = ("--image-serve", str(self.tree), *words)
        entry = {
            "push_destination": push_destination,
            "set": {"namespace": f"{source}/ns", "tag": tag},
        }
        defaults = {"ContainerImagePrepare": [entry], **parameters}
        environment = yaml.safe_dump({"parameter_defaults": defaults})
        (self.home / "env.yaml").write_text(environment)
        self.openstack(
            *("image-prepare", "run", "-e", "env.yaml"),
            *("--template-file", "table.j2", "--output-env-file", "out.yaml"),
            *words,
            status=status,
            stderr=PLAIN + stderr,
        )
        if status:
            return {}
        found = yaml.safe_load((self.home / "out.yaml").read_text())
        defaults = found["parameter_defaults"]
        assert isinstance(defaults, dict)
        return defaults


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "home")


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.DockerRegistry]:
    """On ``[::1]``, with TLS and a password; it has the images."""
    directory = tmp_path_factory.mktemp("source")
    with servers.docker_registry(
        directory,
        tls=True,
        user="me",
        password=PASSWORD,
        name="[::1]",
        address="[::1]",
    ) as registry:
        known = Credentials({registry.host: ("me", PASSWORD)})
        hosts = Hosts(cacert=str(registry.ca), credentials=known)
        with RegistryClient(hosts) as client:
            for tag, image in IMAGES.items():
                store = client.store(registry.host, NAME)
                put(store, image, tag)
        yield registry


def words(source: servers.DockerRegistry) -> Sequence[str]:
    return ("--cacert", str(source.ca))


def login(source: servers.DockerRegistry) -> dict[str, dict[str, str]]:
    return {source.host: {"me": PASSWORD}}


def is_whole(store: ReadableStore, tag: str) -> None:
    """The image is in the store, byte for byte."""
    assert store.resolve(tag) == IMAGES[tag].descriptor
    for piece in IMAGES[tag].pieces:
        with store.fetch(piece.descriptor) as stream:
            assert stream.read() == piece.data


@pytest.mark.parametrize("tag", IMAGES)
def test_into_a_tree(
    source: servers.DockerRegistry, site: Site, tag: str
) -> None:
    """Every kind of layer comes from an IPv6 literal, through TLS."""
    defaults = site.run(
        source.host,
        "",
        *words(source),
        tag=tag,
        ContainerImageRegistryCredentials=login(source),
    )
    assert defaults == {
        "ContainerKeystoneImage": f"{UNDERCLOUD}/{NAME}:{tag}",
        "DockerInsecureRegistryAddress": [UNDERCLOUD],
    }
    is_whole(ImageServeTree(str(site.tree)).store(NAME), tag)


@pytest.mark.parametrize("tag", IMAGES)
def test_into_a_registry(
    source: servers.DockerRegistry, site: Site, tmp_path: Path, tag: str
) -> None:
    """The same into a registry on ``[::1]``, which speaks plain HTTP."""
    with servers.docker_registry(
        tmp_path / "target", name="[::1]", address="[::1]"
    ) as target:
        defaults = site.run(
            source.host,
            target.host,
            *("--insecure-registry", target.host),
            tag=tag,
            ContainerImageRegistryCredentials=login(source),
            DockerInsecureRegistryAddress=[source.host],
        )
        assert defaults == {
            "ContainerKeystoneImage": f"{target.host}/{NAME}:{tag}",
            "DockerInsecureRegistryAddress": [target.host],
        }
        with RegistryClient() as client:
            is_whole(client.store(target.host, NAME), tag)


def test_authfile_with_an_address(
    source: servers.DockerRegistry, site: Site
) -> None:
    """An IPv6 literal is a key in authentication files, too."""
    auth = {"auths": {f"{source.host}/ns": {"auth": "bWU6Wno5U2VjcmV0"}}}
    (site.home / "auth.json").write_text(json.dumps(auth))
    site.run(source.host, "", "--authfile", "auth.json", *words(source))
    is_whole(ImageServeTree(str(site.tree)).store(NAME), "oci")


def test_client_certificates(tmp_path: Path) -> None:
    """certs.d has the authority and what a docker-registry asks of us."""
    authority = servers.make_certificate(tmp_path)
    with servers.docker_registry(
        tmp_path / "registry", tls=True, client_cas=[authority]
    ) as registry:
        assert registry.ca
        directory = tmp_path / "certs.d" / registry.host
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes(registry.ca.read_bytes())
        hosts = Hosts(certs_d=[tmp_path / "certs.d"])
        blob = IMAGES["oci"].parts[0]
        with (
            RegistryClient(hosts, policy=ONE_ATTEMPT) as client,
            pytest.raises(errors.Unreachable, match="TLS failed"),
        ):
            client.store(registry.host, NAME).exists(blob.descriptor)
        for name, suffix in {"crt": "cert", "key": "key"}.items():
            data = (tmp_path / f"server.{name}").read_bytes()
            (directory / f"client.{suffix}").write_bytes(data)
        hosts = Hosts(certs_d=[tmp_path / "certs.d"])
        with RegistryClient(hosts) as client:
            store = client.store(registry.host, NAME)
            store_suite.push(store, blob)
            assert store_suite.read(store, blob.descriptor) == blob.data
        assert hosts.insecure_in_use() == []


def test_schema_1_is_refused(site: Site) -> None:
    """Images of docker's first schema are refused in clear words."""
    body = b'{"schemaVersion": 1, "name": "x", "fsLayers": [], "history": []}'
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    headers = {"Content-Type": kind, "Docker-Content-Digest": None}
    fault = Fault(
        path="/manifests/", status=200, headers=headers, body=body, times=None
    )
    with RegistryServer(faults=[fault]) as old:
        site.run(
            old.host,
            status=2,
            stderr=r"1 of 1 images failed\n[^\n]*"
            r"docker schema 1 manifests are not supported\nhint: [^\n]*",
        )


def test_registries_conf(source: servers.DockerRegistry, site: Site) -> None:
    """The user's registries.conf says where made-up names really are."""
    directory = site.home / ".config" / "containers"
    directory.mkdir(parents=True)
    (directory / "registries.conf").write_text(
        '[[registry]]\nprefix = "quay.test/team"\n'
        f'location = "{source.host}/ns"\n'
        f'[[registry.mirror]]\nlocation = "127.0.0.1:{servers.free_port()}"\n'
        '[[registry]]\nprefix = "blocked.test"\nblocked = true\n'
    )
    site.table("quay.test/team")
    site.run(
        "unused.test",
        "",
        *words(source),
        stderr=r".*not asked any more.*",
        ContainerImageRegistryCredentials=login(source),
    )
    found = ImageServeTree(str(site.tree)).store("team/openstack-keystone")
    is_whole(found, "oci")
    site.table("blocked.test/ns")
    site.run(
        "unused.test",
        "",
        *words(source),
        status=2,
        stderr=rf"[^\n]*blocked by {directory}/registries\.conf\nhint: .*",
    )
