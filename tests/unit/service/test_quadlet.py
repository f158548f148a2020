"""Quadlet files as people write them."""

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.service.declaration import Service
from imageprep_client.service.definitions import quadlet, rendering


def load(directory: Path, text: str) -> Service:
    path = directory / "web.container"
    path.write_text(f"[Container]\nImage=localhost/x:1\n{text}\n")
    return quadlet.load(str(path))


WORDS = (
    *("a b", "100%", "%h", "it's", 'say "x"', "back\\slash", "\\n", "a\nb"),
    *("\ttab", "naïve", "#5", ""),
)


def test_rendered_file_is_read_again(tmp_path: Path) -> None:
    """Words keep their quotes, escapes, line ends and percent signs."""
    service = Service(
        name="web",
        image="localhost/x:1",
        options={"volumes": ("/a b/100%:/x",), "restart": "always"},
        environment={f"V{number}": word for number, word in enumerate(WORDS)},
        command=("run", *WORDS),
        podman_args=tuple(f"--annotation=a={word}" for word in WORDS),
    )
    path = tmp_path / "web.container"
    path.write_text(quadlet.render(service, "localhost/x:1", []))
    assert quadlet.load(str(path)) == service


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mask=/proc/a", ["--security-opt=mask=/proc/a"]),
        ("UIDMap=0:1:2", ["--uidmap=0:1:2"]),
        ("HttpProxy=false", ["--http-proxy=false"]),
        ("HttpProxy=true", []),
        ("AutoUpdate=registry", []),
        (
            "HealthCmd=curl \\\n# why\n  -f x || exit 1",
            ["--health-cmd=curl  -f x || exit 1"],
        ),
        ("PodmanArgs=--a\nPodmanArgs=\nPodmanArgs=--init", ["--init"]),
        ("PublishPort=%p:80", ["--publish=web:80"]),
        ("HealthCmd=curl -w %{code} x", ["--health-cmd=curl -w %{code} x"]),
        (r"PodmanArgs=--a=\UFFFFFFFF", [r"--a=\UFFFFFFFF"]),
    ],
)
def test_keys(tmp_path: Path, text: str, words: list[str]) -> None:
    """Keys of all versions of podman become its options."""
    service = load(tmp_path, text)
    given = rendering.words(service, service.image)
    assert given == ["--name=systemd-web", *words, "localhost/x:1"]


def test_files_and_units(tmp_path: Path) -> None:
    """Specifiers, relative files, and units of networks and volumes."""
    (tmp_path / "front.network").write_text("[Network]\nNetworkName=%pfe\n")
    service = load(
        tmp_path,
        "Network=front.network:ip=10.0.0.2\nNetwork=back.network\n"
        "Volume=data.volume:/data:Z\nVolume=%h/x:/x\nVolume=./y:/y\n"
        "EnvironmentFile=%E/web.env\nEnvironmentFile=own.env\nPod=web.pod\n"
        "Network=db.container",
    )
    assert service.podman_args == ("--pod=systemd-web",)
    assert service.options["network"] == (
        *("frontfe:ip=10.0.0.2", "systemd-back"),
        "container:systemd-db",
    )
    assert service.options["volumes"] == (
        "systemd-data:/data:Z",
        "/root/x:/x",
        f"{tmp_path}/y:/y",
    )
    assert service.env_file == ("/etc/web.env", f"{tmp_path}/own.env")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Exec=sh -c 'x", "Container.Exec: a quotation mark or a"),
        ("Environment=A=%i", "Container.Environment: the value of %i is not"),
        ("Rootfs=/srv/root", "Container.Rootfs: unknown key"),
        ("Image=web.image", "Container.Image: web.image is another unit"),
        ("StopTimeout=soon", "--stop-timeout=soon: expected a number"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(errors.InvalidFile) as caught:
        load(tmp_path, text)
    assert f"web.container: {message}" in str(caught.value)
