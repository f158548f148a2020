"""Odd keys, signatures, claims and policies count here as for skopeo.

Each test asks both about one image, and holds what they say side by side.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from imageprep_client.oci import mediatypes
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests import programs, sampling, servers, signing, sigstore_skopeo
from tests.integration.test_signature_policy import (
    IMAGE,
    NAME,
    OTHER,
    Site,
    claim,
)
from tests.signing import (
    KINDS,
    SIGNATURE,
    SIMPLE,
    public_bytes,
    sign,
    sigstore,
)

_T = TypeVar("_T")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with servers.docker_registry(tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture
def site(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A home, and the image with one good signature."""
    home = tmp_path / "home"
    home.mkdir()
    made = Site(registry, home)
    for name in ("HOME", "GNUPGHOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, made.environment[name])
    with RegistryClient() as registries:
        put(made.store(registries), IMAGE, "1")
    return made


class Comparison:
    """The verdicts of both programs on cases.

    :ivar asked: the cases so far.
    :ivar accepted: those that both accept.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.asked: set[str] = set()
        self.accepted: set[str] = set()
        self._differ: dict[str, tuple[str, str]] = {}

    def ask(self, case: str, document: object, name: str = "") -> None:
        """Ask both under a policy.

        :param name: of the image, if it is another than usual.
        """
        self.asked.add(case)
        policy = self.site.policy(document)
        # Nothing of an earlier case.
        self.site.forget()
        ours = self.site.refusal(policy, name)
        theirs = self.site.skopeo(policy, name.replace(":1@", "@"))
        if bool(ours) is not bool(theirs):
            self._differ[case] = (ours, theirs)
        elif not ours:
            self.accepted.add(case)

    def agree(self, *accepted: str) -> None:
        """See that nothing differs, and which cases are accepted.

        :param accepted: of all cases.
        """
        assert not self._differ
        assert self.accepted == self.asked & set(accepted)


def some(cases: Mapping[str, _T], start: int = 0) -> list[tuple[str, _T]]:
    """A third of the cases, others with another start; see `sampling`."""
    pairs = list(cases.items())
    start %= 3
    return sampling.some([*pairs[start:], *pairs[:start]], 3)


def requiring(*requirements: Mapping[str, object]) -> dict[str, object]:
    return {"default": requirements}


def test_key_files(site: Site) -> None:
    """A file of a key is read as skopeo reads it, or refused."""
    key, other = KINDS["ecdsa"](), KINDS["ecdsa"]()
    site.sign(key)
    good, more = public_bytes(key), public_bytes(other)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    der = key.public_key().public_bytes(
        serialization.Encoding.DER,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    both = Comparison(site)
    cases = {
        "good": good,
        "lines of DOS": good.replace(b"\n", b"\r\n"),
        "text around": b"The key\n\n" + good + b"\nof the site\n",
        "first of two": good + more,
        "second of two": more + good,
        "after a private one": private + good,
        "private": private,
        "binary": der,
        "empty": b"",
        "cut": good[:-40],
        "not a key": b"-----BEGIN PUBLIC KEY-----\nYQ==\n"
        b"-----END PUBLIC KEY-----\n",
    }
    for case, text in some(cases):
        path = site.home / "key.pub"
        path.write_bytes(text)
        both.ask(case, requiring(sigstore(path)))
    both.agree("good", "lines of DOS", "text around", "first of two")


ALGORITHMS: Mapping[str, Callable[[], Any]] = {
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505
    "RSA 4096": lambda: rsa.generate_private_key(65537, 4096),
    "Ed448": ed448.Ed448PrivateKey.generate,
    **KINDS,
}


def test_algorithms(site: Site) -> None:
    """Keys of each algorithm count, or do not, as for skopeo."""
    both = Comparison(site)
    for case, make in some(ALGORITHMS):
        key = make()
        payload = claim(site.name)
        site.attach((payload, sign(key, payload)))
        both.ask(case, requiring(sigstore(site.public(key))))
        if case.startswith("RSA"):
            path = site.home / "pkcs1.pub"
            path.write_bytes(
                public_bytes(key, serialization.PublicFormat.PKCS1)
            )
            both.ask(f"{case}, PKCS 1", requiring(sigstore(path)))
    both.agree(
        *("P-224", "P-384", "P-521", "ecdsa", "rsa", "ed25519"),
        *(f"RSA {n}{form}" for n in (1024, 4096) for form in ("", ", PKCS 1")),
    )


def test_signature_texts(site: Site) -> None:
    """A signature's text is read as skopeo reads it."""
    key = KINDS["ecdsa"]()
    payload = claim(site.name)
    made = base64.b64encode(sign(key, payload)).decode()
    both = Comparison(site)
    path = site.public(key)
    cases = {
        "good": {SIGNATURE: made},
        "in lines": {SIGNATURE: f"{made[:20]}\r\n{made[20:]}\n"},
        "space": {SIGNATURE: f" {made}"},
        "no padding": {SIGNATURE: made.rstrip("=") + "x"},
        "for URLs": {SIGNATURE: "-_" + made[2:]},
        "more": {SIGNATURE: made + "AAAA"},
        "empty": {SIGNATURE: ""},
        "none": {},
        "other case": {SIGNATURE.upper(): made},
    }
    for case, texts in some(cases):
        attach(site, payload, texts)
        both.ask(case, requiring(sigstore(path)))
    both.agree("good", "in lines")


def attach(
    site: Site,
    payload: bytes,
    texts: Mapping[str, str],
    *,
    layer_type: str = SIMPLE,
    docker: bool = False,
) -> None:
    """Attach a payload, in any form."""
    layer = signing.layer(payload, texts, layer_type)
    image = content.image("signature", [layer], docker=docker)
    with RegistryClient() as registries:
        tag = signing.tag(IMAGE.descriptor.digest)
        put(site.store(registries), image, tag)


def test_manifests_of_signatures(site: Site) -> None:
    """Signatures in manifests of other kinds do not count, as for skopeo."""
    key = KINDS["ecdsa"]()
    payload = claim(site.name)
    made = {SIGNATURE: base64.b64encode(sign(key, payload)).decode()}
    both = Comparison(site)
    policy = requiring(sigstore(site.public(key)))
    forms: Mapping[str, dict[str, Any]] = {
        "good": {},
        "another type of layer": {"layer_type": mediatypes.OCI_LAYER_GZIP},
        "of Docker's type": {"docker": True},
    }
    for case, form in forms.items():
        attach(site, payload, made, **form)
        both.ask(case, policy)
    both.agree("good")


def changed(document: Any, **changes: Any) -> bytes:
    return json.dumps({**document, **changes}).encode()


def test_claims(site: Site) -> None:
    """The JSON that was signed is read as strictly as by skopeo."""
    key = KINDS["ecdsa"]()
    good = json.loads(claim(site.name))
    critical = good["critical"]
    image, named = critical["image"], critical["identity"]
    digest = image["docker-manifest-digest"]
    text = claim(site.name).decode()
    both = Comparison(site)
    path = site.public(key)
    cases = {
        "good": text.encode(),
        "as cosign": changed(good, optional=None),
        "as skopeo": changed(
            good, optional={"creator": "c/image", "timestamp": 1700000000}
        ),
        "annotated": changed(good, optional={"team": ["x"], "n": 1}),
        "a float": changed(good, optional={"timestamp": 1.5}),
        "a whole float": changed(good, optional={"timestamp": 15e8}),
        "a huge float": changed(good, optional={"timestamp": 1e300}),
        "a creator of a number": changed(good, optional={"creator": 1}),
        "a list": changed(good, optional=[]),
        "no optional": json.dumps({"critical": critical}).encode(),
        "no critical": json.dumps({"optional": {}}).encode(),
        "more": changed(good, more=1),
        "more critical": changed(good, critical={**critical, "more": 1}),
        "more of the image": changed(
            good, critical={**critical, "image": {**image, "more": 1}}
        ),
        "other case": text.replace("critical", "Critical", 1).encode(),
        "a key twice": text.replace(
            '"type"', '"type": "cosign container image signature", "type"'
        ).encode(),
        "two documents": f"{text} {text}".encode(),
        "text behind": f"{text} x".encode(),
        "space around": f" {text}\n".encode(),
        "a mark of bytes": b"\xef\xbb\xbf" + text.encode(),
        "no digest": changed(
            good,
            critical={**critical, "image": {"docker-manifest-digest": "x"}},
        ),
        "a digest in capitals": text.replace(digest, digest.upper()).encode(),
        "a name of a number": changed(
            good, critical={**critical, "identity": {"docker-reference": 1}}
        ),
        "no name": changed(
            good, critical={**critical, "identity": {"docker-reference": None}}
        ),
        "no identity": changed(good, critical={**critical, "identity": named}),
        "another type": text.replace("cosign", "atomic").encode(),
    }
    for case, payload in some(cases):
        site.attach((payload, sign(key, payload)))
        both.ask(case, requiring(sigstore(path)))
    both.agree(
        *("good", "as cosign", "as skopeo", "annotated", "a whole float"),
        *("space around", "no identity"),
    )


def test_names_with_digests(site: Site) -> None:
    """An image named by digest is compared with names as by skopeo."""
    key = KINDS["ecdsa"]()
    host, digest = site.registry.host, IMAGE.descriptor.digest
    path = site.public(key)
    exact = {"type": "matchExact"}
    forms: Mapping[str, Mapping[str, str] | None] = {
        "default": None,
        "exact": exact,
        "repository": {"type": "matchRepository"},
        "remapped": {
            "type": "remapIdentity",
            "prefix": host,
            "signedPrefix": "quay.io",
        },
        "reference": {
            "type": "exactReference",
            "dockerReference": f"quay.io/{NAME}@{digest}",
        },
    }
    signed = {
        "tag": f"{host}/{NAME}:2",
        "digest": f"{host}/{NAME}@{digest}",
        "no tag": f"{host}/{NAME}",
        "elsewhere": f"quay.io/{NAME}:1",
        "digest elsewhere": f"quay.io/{NAME}@{digest}",
    }
    both = Comparison(site)
    for kind, name in signed.items():
        payload = claim(name)
        site.attach((payload, sign(key, payload)))
        for form, identity in some(forms, len(both.asked)):
            more = {"signedIdentity": identity} if identity else {}
            both.ask(
                f"{kind}, {form}",
                requiring(sigstore(path, **more)),
                f"{host}/{NAME}:1@{digest}",
            )
    both.agree(
        *("tag, default", "digest, default", "digest, exact"),
        *("tag, repository", "digest, repository", "no tag, repository"),
        *("elsewhere, remapped", "digest elsewhere, remapped"),
        "digest elsewhere, reference",
    )


def test_policies(site: Site) -> None:
    """A policy that skopeo does not take as one is none here either."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    path = site.public(key)
    data = base64.b64encode(public_bytes(key)).decode()
    host = site.registry.host
    good, reject = sigstore(path), {"type": "reject"}
    anything = {"type": "insecureAcceptAnything"}
    unkeyed: dict[str, object] = {"type": "sigstoreSigned"}

    def scoped(**scopes: object) -> dict[str, object]:
        return {"default": [reject], "transports": scopes}

    both = Comparison(site)
    cases = {
        "by file": requiring(good),
        "by files": requiring({**unkeyed, "keyPaths": [str(path)]}),
        "in the policy": requiring({**unkeyed, "keyData": data}),
        "several": requiring({**unkeyed, "keyDatas": [data, data]}),
        "in lines": requiring(
            {**unkeyed, "keyData": f"{data[:9]}\n{data[9:]}"}
        ),
        "two sources": requiring({**good, "keyData": data}),
        "no source": requiring(unkeyed),
        "no files": requiring({**unkeyed, "keyPaths": []}),
        "an empty name": requiring({**unkeyed, "keyPath": ""}),
        "null": requiring({**good, "keyPath": None}),
        "more": requiring({**good, "more": 1}),
        "a type of keys": requiring({**good, "keyType": "GPGKeys"}),
        "no default": {"transports": {"docker": {"": [anything]}}},
        "an empty default": {"default": []},
        "null as default": {"default": None},
        "no transports": {"default": [anything], "transports": {}},
        "null as transports": {"default": [anything], "transports": None},
        "an unknown transport": {
            "default": [anything],
            "transports": {"carrier-pigeon": {"x": [reject]}},
        },
        "a broken other scope": {
            "default": [anything],
            "transports": {"docker": {"quay.io": [{"type": "x"}]}},
        },
        "the host": scoped(docker={host: [good]}),
        "the repository": scoped(docker={f"{host}/{NAME}": [good]}),
        "the image": scoped(docker={f"{host}/{NAME}:1": [good]}),
        "part of a name": scoped(docker={f"{host}/{NAME[:-1]}": [good]}),
        "all of docker": scoped(docker={"": [good]}),
        "a wildcard": scoped(docker={"*.0.0.1": [good]}),
        "a wildcard with port": scoped(docker={f"*.{host[4:]}": [good]}),
        "the longest": scoped(
            docker={host: [reject], f"{host}/{NAME}": [good], "": [reject]}
        ),
        "all have to be met": requiring(good, reject),
        "a relative directory": {
            "default": [anything],
            "transports": {"dir": {"x": [reject]}},
        },
        "the root directory": {
            "default": [anything],
            "transports": {"oci": {"/": [reject]}},
        },
        "an unclean directory": {
            "default": [anything],
            "transports": {"oci-archive": {"/a//b": [reject]}},
        },
        "of an archive": {
            "default": [anything],
            "transports": {"docker-archive": {"/a": [reject]}},
        },
        "a part of an identity": requiring(
            {**good, "signedIdentity": {"type": "matchExact", "prefix": "x"}}
        ),
        "an identity of nothing": requiring({**good, "signedIdentity": None}),
        "no tag in it": requiring(
            {
                **good,
                "signedIdentity": {
                    "type": "exactReference",
                    "dockerReference": "quay.io/x",
                },
            }
        ),
    }
    for case, document in some(cases):
        both.ask(case, document)
    both.agree(
        *("by file", "by files", "in the policy", "several", "in lines"),
        *("no transports", "an unknown transport"),
        *("the host", "the repository", "the image", "all of docker"),
        *("a wildcard", "the longest"),
    )


@pytest.mark.parametrize("attachments", ["true", "false", ""])
def test_attachments(site: Site, attachments: str) -> None:
    """Signatures in the registry count only where registries.d says so."""
    key = KINDS["ecdsa"]()
    site.sign(key)
    (site.home / ".config/containers/registries.d/site.yaml").write_text(
        "docker:\n"
        f"  {site.registry.host}:\n"
        "    lookaside: file:///nowhere\n"
        + (
            f"    use-sigstore-attachments: {attachments}\n"
            * bool(attachments)
        )
    )
    both = Comparison(site)
    both.ask("it", requiring(sigstore(site.public(key))))
    both.agree(*(["it"] if attachments == "true" else []))


@pytest.mark.parametrize("signed", [IMAGE, OTHER])
def test_signed_by_skopeo(site: Site, signed: Any) -> None:
    """A sigstore key of skopeo's signs the image that it has copied."""
    passphrase = site.home / "passphrase"
    passphrase.write_text("secret\n")
    policy = site.policy(requiring({"type": "insecureAcceptAnything"}))
    with RegistryClient() as registries:
        put(site.store(registries), signed, "1")
    for words in (
        [
            *("generate-sigstore-key", "--output-prefix", "key"),
            *("--passphrase-file", str(passphrase)),
        ],
        [
            *(f"--policy={policy}", "copy", "--src-tls-verify=false"),
            *("--dest-tls-verify=false", "--sign-passphrase-file"),
            *(str(passphrase), "--sign-by-sigstore-private-key"),
            *("key.private", f"docker://{site.name}", f"docker://{site.name}"),
        ],
    ):
        programs.run(
            *sigstore_skopeo.command(),
            *words,
            cwd=site.home,
            env=site.environment,
        )
    with RegistryClient() as registries:
        put(site.store(registries), IMAGE, "1")
    both = Comparison(site)
    both.ask("it", requiring(sigstore(site.home / "key.pub")))
    both.agree(*(["it"] if signed is IMAGE else []))
