"""Signature policies are obeyed as skopeo obeys them, asked side by side."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.client.images import ContainerImages, PushRequest
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests import programs, rpm_packages, servers, signing, sigstore_skopeo
from tests.functional.base import OpenStack
from tests.local_storage import local_storage
from tests.servers import DockerRegistry
from tests.signing import KINDS, public_bytes, sign, sigstore, use_attachments
from tests.web import served

IMAGE = content.image("signed")
OTHER = content.image("another")
NAME = "ns/app"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
Requirement = Mapping[str, object]
_GPG = ("gpg", "--batch", "--no-tty", "--passphrase", "")


def claim(
    name: str,
    digest: str = IMAGE.descriptor.digest,
    kind: str = "cosign container image signature",
) -> bytes:
    """The claim of a signature, by default of the image."""
    return signing.claim(name, digest, kind)


class Site:
    """A registry with one image, a home with keys, and both programs.

    :param keys: the home of gpg, by default one of the site's own.
    """

    def __init__(
        self, registry: DockerRegistry, home: Path, keys: Path | None = None
    ) -> None:
        self.registry = registry
        self.home = home
        self.name = f"{registry.host}/{NAME}:1"
        self.lookaside = home / "lookaside"
        self.lookaside.mkdir()
        if keys is None:
            keys = home / "gnupg"
            keys.mkdir(mode=0o700)
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "GNUPGHOME": str(keys),
            "XDG_STATE_HOME": str(home / "state"),
        }
        self.configure(f"file://{self.lookaside}")

    def configure(self, url: str) -> None:
        """Have signatures looked for at this lookaside."""
        use_attachments(self.home, f"  lookaside: {url}\n")

    def store(self, registries: RegistryClient) -> RegistryStore:
        return registries.store(self.registry.host, NAME)

    def public(self, key: Any, name: str = "key.pub") -> Path:
        """A file with the public key."""
        path = self.home / name
        path.write_bytes(public_bytes(key))
        return path

    def sign(self, key: Any) -> None:
        """Sign the image as cosign does."""
        payload = claim(self.name)
        self.attach((payload, sign(key, payload)))

    def attach(
        self, *signed: tuple[bytes, bytes], referrer: bool = False
    ) -> None:
        """Put payloads and their signatures under cosign's tag.

        :param referrer: let them refer to the image instead.
        """
        layers = [signing.signed(*each) for each in signed]
        made = content.image("signature", layers)
        if referrer:
            document = json.loads(made.manifest.data)
            document["artifactType"] = ARTIFACT
            document["subject"] = IMAGE.descriptor.to_json()
            data = json.dumps(document).encode()
            root = content.piece(data, mediatypes.OCI_MANIFEST)
            made = content.Image(root, made.parts)
        tags = () if referrer else (signing.tag(IMAGE.descriptor.digest),)
        with RegistryClient() as registries:
            put(self.store(registries), made, *tags)

    def gpg(self, *words: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            [*_GPG, *words],
            input=data,
            env=self.environment,
            check=True,
            capture_output=True,
        )
        return done.stdout

    def write(self, number: int, signature: bytes) -> None:
        """Put a signature into the lookaside."""
        algorithm, _, encoded = IMAGE.descriptor.digest.partition(":")
        directory = self.lookaside / f"{NAME}@{algorithm}={encoded}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"signature-{number}").write_bytes(signature)

    def skopeo(self, policy: Path, name: str = "") -> str:
        """Why skopeo does not copy the image; empty: it does."""
        target = self.home / "skopeo"
        done = subprocess.run(
            [
                *(*sigstore_skopeo.command(), f"--policy={policy}", "copy"),
                *("--src-tls-verify=false", f"docker://{name or self.name}"),
                f"dir:{target}",
            ],
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        shutil.rmtree(target, ignore_errors=True)
        return done.stderr if done.returncode else ""

    def refusal(self, policy: Path, name: str = "") -> str:
        """Why this project refuses the image; empty: it is copied."""
        tree = self.home / "tree"
        try:
            row = ContainerImages(
                RegistryOptions(
                    image_serve=str(tree), signature_policy=str(policy)
                )
            ).push_image(PushRequest(image=name or self.name))
        except (errors.CopyError, errors.InvalidFile) as error:
            with pytest.raises(errors.NotFound):
                ImageServeTree(str(tree)).store(NAME).resolve("1")
            return str(error)
        assert row.digest == IMAGE.descriptor.digest
        shutil.rmtree(tree)
        self.accepted = row.accepted
        return ""

    def forget(self) -> None:
        """Have nothing of what was accepted before."""
        shutil.rmtree(self.home / "state", ignore_errors=True)

    def policy(self, document: object) -> Path:
        path = self.home / "policy.json"
        path.write_text(json.dumps(document))
        return path

    def both(self, *requirements: Mapping[str, object]) -> bool:
        """Whether both accept the image; they have to agree."""
        policy = self.policy(
            {
                "default": [{"type": "reject"}],
                "transports": {
                    "docker": {self.name.partition("/")[0]: requirements}
                },
            }
        )
        ours, theirs = self.refusal(policy), self.skopeo(policy)
        assert bool(ours) is bool(theirs), (ours, theirs)
        return not ours


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DockerRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    with servers.docker_registry(directory, access_log=True) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg with the keys of a vendor and of another one."""
    home = tmp_path_factory.mktemp("gnupg")
    environment = {**os.environ, "GNUPGHOME": str(home)}
    for name in ("vendor", "other"):
        generate = ("--quick-gen-key", f"{name}@example.com")
        programs.run(*_GPG, *generate, "rsa2048", "sign", env=environment)
    yield home
    subprocess.run(
        ["gpgconf", "--kill", "gpg-agent"], env=environment, check=True
    )


@pytest.fixture
def site(
    registry: DockerRegistry,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """A registry with an image that nobody has signed yet."""
    registry.empty()
    home = tmp_path / "home"
    home.mkdir()
    made = Site(registry, home, keys)
    for name in ("HOME", "GNUPGHOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, made.environment[name])
    with RegistryClient() as registries:
        put(made.store(registries), IMAGE, "1")
        put(made.store(registries), OTHER, "other")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_sigstore_key(site: Site, kind: str) -> None:
    """A signature by the key of the policy is accepted, of each kind."""
    key = KINDS[kind]()
    payload = claim(site.name)
    site.attach((payload, sign(key, payload)))
    path = site.public(key)
    assert site.both(sigstore(path))
    assert str(path) in site.accepted


def test_second_key(site: Site) -> None:
    """Another key is refused, named with image, scope and what is wanted."""
    key, second = KINDS["ecdsa"](), KINDS["ecdsa"]()
    payload = claim(site.name)
    site.attach((payload, sign(second, payload)))
    path = site.public(key)
    assert not site.both(sigstore(path))
    refusal = site.refusal(site.home / "policy.json")
    for part in (
        site.name,
        IMAGE.descriptor.digest,
        f"scope docker {site.registry.host}",
        f"sigstoreSigned {path}",
        "not made by an accepted key",
    ):
        assert part in refusal


def test_unsigned(site: Site) -> None:
    """An image without signatures is refused."""
    path = site.public(KINDS["ecdsa"]())
    assert not site.both(sigstore(path))


@pytest.mark.parametrize(
    ("identity", "signed", "accepted"),
    [
        ({"type": "matchExact"}, "{host}/ns/app:1", True),
        ({"type": "matchExact"}, "{host}/ns/app:2", False),
        ({"type": "matchExact"}, "{host}/ns/app", False),
        ({"type": "matchRepoDigestOrExact"}, "{host}/ns/app:1", True),
        ({"type": "matchRepoDigestOrExact"}, "{host}/ns/app:2", False),
        ({"type": "matchRepository"}, "{host}/ns/app:2", True),
        ({"type": "matchRepository"}, "{host}/ns/app", True),
        ({"type": "matchRepository"}, "{host}/ns/apps:1", False),
        ({"type": "matchRepository"}, "no name at all", False),
        (
            {"type": "exactReference", "dockerReference": "busybox:1"},
            "docker.io/library/busybox:1",
            True,
        ),
        (
            {"type": "exactReference", "dockerReference": "busybox:1"},
            "busybox:2",
            False,
        ),
        (
            {"type": "exactRepository", "dockerRepository": "quay.io/ns/x"},
            "quay.io/ns/x:9",
            True,
        ),
        (
            {
                "type": "remapIdentity",
                "prefix": "{host}/ns",
                "signedPrefix": "quay.io/vendor",
            },
            "quay.io/vendor/app:1",
            True,
        ),
        (
            {
                "type": "remapIdentity",
                "prefix": "{host}",
                "signedPrefix": "quay.io",
            },
            "quay.io/ns/app:2",
            False,
        ),
        (
            {
                "type": "remapIdentity",
                "prefix": "{host}/n",
                "signedPrefix": "quay.io/n",
            },
            "quay.io/ns/app:1",
            False,
        ),
    ],
)
def test_signed_identity(
    site: Site, identity: Mapping[str, str], signed: str, accepted: bool
) -> None:
    """Each form of signedIdentity accepts the names that it should."""
    host = site.registry.host
    key = KINDS["ecdsa"]()
    payload = claim(signed.replace("{host}", host))
    site.attach((payload, sign(key, payload)))
    filled = {k: v.replace("{host}", host) for k, v in identity.items()}
    path = site.public(key)
    assert site.both(sigstore(path, signedIdentity=filled)) is accepted


@pytest.mark.parametrize(
    "payload",
    [
        claim("{host}/ns/other:1"),
        claim("{host}/ns/app:1", OTHER.descriptor.digest),
        claim("{host}/ns/app:1", kind="atomic container signature"),
        b"[]",
        b"{}",
        b"no JSON",
        b'{"critical": {}, "optional": null, "more": 1}',
    ],
)
def test_payloads_that_do_not_count(site: Site, payload: bytes) -> None:
    """A good signature of another name, digest or kind, or of no claim."""
    key = KINDS["ecdsa"]()
    payload = payload.replace(b"{host}", site.registry.host.encode())
    site.attach((payload, sign(key, payload)))
    assert not site.both(sigstore(site.public(key)))


def test_many_signatures(site: Site) -> None:
    """One good signature among many is found."""
    key, second = KINDS["ecdsa"](), KINDS["ecdsa"]()
    payload = claim(site.name)
    bad = (payload, sign(second, payload))
    site.attach(*([bad] * 99), (payload, sign(key, payload)))
    assert site.both(sigstore(site.public(key)))


def test_all_requirements_have_to_be_met(site: Site) -> None:
    """Of two requirements one alone does not suffice."""
    key, second = KINDS["ecdsa"](), KINDS["rsa"]()
    payload = claim(site.name)
    made, more = sign(key, payload), sign(second, payload)
    one = sigstore(site.public(key))
    two = sigstore(site.public(second, "second.pub"))
    site.attach((payload, made))
    assert not site.both(one, two)
    site.attach((payload, made), (payload, more))
    assert site.both(one, two)


@pytest.fixture
def vendor(site: Site) -> Requirement:
    """The requirement of the vendor's key."""
    ring = site.home / "vendor.gpg"
    ring.write_bytes(site.gpg("--armor", "--export", "vendor@example.com"))
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(ring)}


ATOMIC = "atomic container signature"


def gpg_signed(site: Site, payload: bytes, user: str, *more: str) -> bytes:
    return site.gpg(*more, "--local-user", user, "--sign", data=payload)


def test_signed_by_skopeo(site: Site, vendor: Requirement) -> None:
    """An image that skopeo signed with GPG is accepted."""
    policy = site.home / "any.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    programs.run(
        *("skopeo", f"--policy={policy}", "copy"),
        *("--src-tls-verify=false", "--dest-tls-verify=false"),
        *("--sign-by=vendor@example.com", f"docker://{site.name}"),
        f"docker://{site.name}",
        env=site.environment,
    )
    assert site.both(vendor)
    assert "signedBy" in site.accepted


@pytest.mark.parametrize(
    ("payload", "accepted"),
    [
        (("{name}", IMAGE.descriptor.digest, ATOMIC), True),
        (("{name}2", IMAGE.descriptor.digest, ATOMIC), False),
        (("{name}", OTHER.descriptor.digest, ATOMIC), False),
        (("{name}", IMAGE.descriptor.digest, "another kind"), False),
    ],
)
def test_gpg_claims(
    site: Site,
    vendor: Requirement,
    payload: tuple[str, str, str],
    accepted: bool,
) -> None:
    """A GPG signature counts for its name, digest and kind only."""
    name, digest, kind = payload
    text = claim(name.replace("{name}", site.name), digest, kind)
    site.write(1, gpg_signed(site, text, "vendor@example.com"))
    assert site.both(vendor) is accepted


@pytest.mark.parametrize("user", ["vendor", "other"])
def test_signatures_of_the_registry(
    site: Site, vendor: Requirement, user: str
) -> None:
    """A registry may keep signatures itself, as Pulp does."""
    shutil.rmtree(site.home / ".config/containers/registries.d")
    mark = Fault(
        path="^/v2/",
        headers={"X-Registry-Supports-Signatures": "1"},
        times=None,
    )
    with RegistryServer(faults=[mark]) as server:
        put(server.content.store(NAME), IMAGE, "1")
        site.name = f"{server.host}/{NAME}:1"
        text = claim(site.name, kind=ATOMIC)
        kept = {
            "schemaVersion": 2,
            "type": "atomic",
            "name": f"{IMAGE.descriptor.digest}@1",
            "content": base64.b64encode(
                gpg_signed(site, text, f"{user}@example.com")
            ).decode(),
        }
        body = json.dumps({"signatures": [kept]}).encode()
        server.fail(path="^/extensions/v2/", status=200, body=body, times=None)
        assert site.both(vendor) is (user == "vendor")


def test_expired_gpg_key(site: Site) -> None:
    """A key that has expired since does not count."""
    past = ("--faked-system-time", "20200101T000000")
    key = ("old@example.com", "rsa2048", "sign", "1y")
    site.gpg(*past, "--quick-gen-key", *key)
    ring = site.home / "old.gpg"
    ring.write_bytes(site.gpg("--export", "old@example.com"))
    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, "old@example.com", *past))
    assert not site.both(
        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(ring)}
    )
    assert "has expired" in site.refusal(site.home / "policy.json")


def test_second_gpg_key(site: Site, vendor: Requirement) -> None:
    """A key that is not in the keyring of the policy does not count."""
    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, "other@example.com"))
    assert not site.both(vendor)
    site.write(2, gpg_signed(site, text, "vendor@example.com"))
    assert site.both(vendor)


def test_many_gpg_signatures(site: Site, vendor: Requirement) -> None:
    """The last of 127 signatures counts; with one more, none does."""
    text = claim(site.name, kind=ATOMIC)
    other = gpg_signed(site, text, "other@example.com")
    good = gpg_signed(site, text, "vendor@example.com")
    for number in range(1, 127):
        site.write(number, other)
    site.write(127, good)
    assert site.both(vendor)
    site.forget()
    site.write(128, good)
    assert not site.both(vendor)


def test_json_in_the_lookaside(site: Site, vendor: Requirement) -> None:
    """Beside JSON that is no signature a good one does not count either."""
    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, "vendor@example.com"))
    site.write(2, b'{"no": "signature"}')
    assert not site.both(vendor)


def test_again_without_requests(site: Site) -> None:
    """Signatures of an accepted image are not fetched again."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    assert site.both(sigstore(site.public(key)))
    before = site.registry.requests(r"^GET .*\.sig")
    assert before
    assert not site.refusal(site.home / "policy.json")
    assert site.registry.requests(r"^GET .*\.sig") == before


@pytest.mark.parametrize(
    ("requirement", "feature"),
    [
        (
            {
                "fulcio": {"caPath": "/c", "oidcIssuer": "i"},
                "rekorPublicKeyPath": "/r",
            },
            "fulcio",
        ),
        ({"keyPath": "/k", "rekorPublicKeyPath": "/r"}, "rekorPublicKeyPath"),
        ({"pki": {"caRootsPath": "/c"}}, "pki"),
    ],
)
def test_unsupported_requirements(
    site: Site, requirement: Mapping[str, object], feature: str
) -> None:
    """An unsupported requirement is refused, and the refusal says so."""
    policy = site.policy(
        {"default": [{"type": "sigstoreSigned", **requirement}]}
    )
    refusal = site.refusal(policy)
    assert f"sigstoreSigned with {feature}" in refusal
    assert "cannot evaluate" in refusal


def test_referrer(site: Site) -> None:
    """Signatures that refer to the image count like those under a tag."""
    key = KINDS["ecdsa"]()
    payload = claim(site.name)
    site.attach((payload, sign(key, payload)), referrer=True)
    policy = site.policy({"default": [sigstore(site.public(key))]})
    assert site.refusal(policy) == ""


def test_index_and_its_images_are_verified(site: Site) -> None:
    """A signed image does not make up for an index that nobody signed."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    index = content.index({"linux/amd64": IMAGE, "linux/arm64": IMAGE})
    with RegistryClient() as registries:
        put(site.store(registries), index, "1")
    policy = site.policy({"default": [sigstore(site.public(key))]})
    assert site.refusal(policy) == ""
    options = RegistryOptions(
        image_serve=str(site.home / "tree"), signature_policy=str(policy)
    )
    with pytest.raises(errors.CopyError, match=index.descriptor.digest):
        ContainerImages(options).push_image(
            PushRequest(image=site.name, multi_arch=True)
        )


def test_signature_without_end(site: Site, vendor: Requirement) -> None:
    """A message that decompresses without end is stopped, in little room."""
    bomb = gpg_signed(
        *(site, bytes(64 << 20), "vendor@example.com"),
        *("--compress-algo", "bzip2"),
    )
    assert len(bomb) < 4096
    site.write(1, bomb)
    policy = site.policy({"default": [vendor]})
    assert "gpgv: too much output" in site.refusal(policy)


@pytest.mark.parametrize("redirects", [False, True])
def test_lookaside_over_http(
    site: Site, vendor: Requirement, redirects: bool
) -> None:
    """Signatures in a lookaside of a web server count."""
    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, "other@example.com"))
    site.write(2, gpg_signed(site, text, "vendor@example.com"))
    with served(site.lookaside) as front, served(site.lookaside) as behind:
        if redirects:
            front.redirect = f"{behind.url}{{path}}"
        site.configure(front.url)
        assert site.both(vendor)
    prefix = f"/{NAME}@{IMAGE.descriptor.digest.replace(':', '=')}"
    asked = (behind if redirects else front).asked
    assert (f"{prefix}/signature-2", "") in asked


@pytest.mark.parametrize("status", [403, 500])
def test_lookaside_that_fails(
    site: Site, vendor: Requirement, status: int
) -> None:
    """A lookaside that does not answer never lets an image pass."""
    with served(site.lookaside) as web:
        web.status = status
        site.configure(web.url)
        assert not site.both(vendor)
        refusal = site.refusal(site.home / "policy.json")
    assert f"HTTP status {status}" in refusal


TABLE = """container_images_template:
- imagename: "{{namespace}}/app:{{tag}}"
  image_source: kolla
  params: [ContainerKeystoneImage]
- imagename: "{{namespace}}/refused:{{tag}}"
  image_source: kolla
  params: [ContainerNovaApiImage]
"""


@pytest.fixture
def openstack(site: Site) -> OpenStack:
    """The command, in the home of the site."""
    found = OpenStack(site.home)
    found.environment["XDG_STATE_HOME"] = site.environment["XDG_STATE_HOME"]
    (site.home / "table.j2").write_text(TABLE)
    environment = {
        "parameter_defaults": {
            "ContainerImagePrepare": [
                {
                    "push_destination": "undercloud.local:8787",
                    "set": {
                        "namespace": f"{site.registry.host}/ns",
                        "tag": "1",
                    },
                }
            ]
        }
    }
    (site.home / "env.yaml").write_text(json.dumps(environment))
    with RegistryClient() as registries:
        store = registries.store(site.registry.host, "ns/refused")
        put(store, OTHER, "1")
    return found


def run_words(policy: Path, *more: str) -> tuple[str, ...]:
    """The command for both images."""
    return (
        *("image-prepare", "run", "-e", "env.yaml"),
        *("--template-file", "table.j2", "--image-serve", "tree"),
        *("--output-env-file", "out.yaml", "--report", "report.json"),
        *("--signature-policy", str(policy), *more),
    )


def test_run_copies_all_but_the_refused(
    site: Site, openstack: OpenStack
) -> None:
    """A refused image fails alone: no tag of it, no parameter names it."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    path = site.public(key)
    policy = site.policy({"default": [sigstore(path)]})
    openstack(
        *run_words(policy, "--keep-going"),
        status=1,
        stderr=r".*ns/refused:1.*requirement sigstoreSigned.*no signature.*",
    )
    tree = ImageServeTree(str(site.home / "tree"))
    assert tree.store(NAME).resolve("1").digest == IMAGE.descriptor.digest
    with pytest.raises(errors.NotFound):
        tree.store("ns/refused").resolve("1")
    assert not (site.home / "out.yaml").exists()
    report = json.loads((site.home / "report.json").read_text())
    assert "ContainerNovaApiImage" not in report["parameters"]
    assert "ContainerKeystoneImage" in report["parameters"]
    rows = report["images"]
    accepted = {row["source"].split("/")[-1]: row["accepted"] for row in rows}
    assert accepted["refused:1"] is None
    assert str(path) in accepted["app:1"]


def test_run_stops_at_a_refused_image(
    site: Site, openstack: OpenStack
) -> None:
    """Without --keep-going no parameters are written either."""
    policy = site.policy({"default": [{"type": "reject"}]})
    openstack(
        *run_words(policy),
        status=2,
        stderr=".*scope default, requirement reject.*",
    )
    assert not list(site.home.glob("tree/v2/*/*/manifests/*"))
    assert not (site.home / "out.yaml").exists()


def test_hotfix_of_a_refused_image(site: Site, openstack: OpenStack) -> None:
    """A refused image is not brought into local storage."""
    rpms = site.home / "rpms"
    rpm_packages.build(rpms, rpm_packages.NEW)
    policy = site.policy({"default": [{"type": "reject"}]})
    with local_storage(site.home / "storage") as storage:
        openstack.environment.update(storage.environment)
        openstack(
            *("image-prepare", "hotfix", "--image", site.name),
            *("--rpms-path", str(rpms), "--signature-policy", str(policy)),
            status=2,
            stderr=".*scope default, requirement reject.*",
        )
        assert storage.names() == set()


def test_signatures_are_carried(
    site: Site, vendor: Requirement, openstack: OpenStack
) -> None:
    """Signatures in registry and lookaside go with an archive, and count."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, "vendor@example.com"))
    scopes = {
        f"{site.registry.host}/{NAME}": [vendor, sigstore(site.public(key))]
    }
    anything = [{"type": "insecureAcceptAnything"}]
    policy = site.policy(
        {"default": anything, "transports": {"docker": scopes}}
    )
    with served(site.lookaside) as web:
        site.configure(web.url)
        openstack(*run_words(policy, "--carry", "carried.tar"), stderr=".*")
        assert web.asked
        before = len(web.asked), len(site.registry.requests("."))
        openstack(*run_words(policy, "--from", "carried.tar"), stderr=".*")
        # Without what is kept of the first run, too.
        shutil.rmtree(site.home / "state")
        shutil.rmtree(site.home / "tree")
        openstack(*run_words(policy, "--from", "carried.tar"), stderr=".*")
        after = len(web.asked), len(site.registry.requests("."))
        assert after == before
    rows = json.loads((site.home / "report.json").read_text())["images"]
    (accepted,) = [row["accepted"] for row in rows if "app" in row["image"]]
    assert "signedBy" in accepted
    assert "sigstoreSigned" in accepted


@pytest.mark.parametrize("words", [("--carry", "x.tar"), ("--from", "x.tar")])
def test_policy_of_carried_images(
    site: Site, openstack: OpenStack, words: tuple[str, str]
) -> None:
    """Both sides hold images against the policy, by their names."""
    anything = site.policy({"default": [{"type": "insecureAcceptAnything"}]})
    openstack(*run_words(anything, "--carry", "x.tar"), stderr=".*")
    scopes = {f"{site.registry.host}/ns/refused": [{"type": "reject"}]}
    policy = site.policy(
        {
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": scopes},
        }
    )
    before = (site.home / "x.tar").stat().st_mtime_ns
    openstack(
        *run_words(policy, *words),
        status=(1, 2),
        stderr=rf".*scope docker {site.registry.host}/ns/refused.*",
    )
    assert (site.home / "x.tar").stat().st_mtime_ns == before
    assert not list(site.home.glob("tree/v2/ns/refused/manifests/*"))
