"""The content of registries.conf, and the locations of its files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.endpoints import registries_conf
from imageprep_client.stores.registry.endpoints.hosts import (
    Hosts,
    RepositoryLocation,
    RepositoryLocations,
)
from imageprep_client.stores.registry.endpoints.registries_conf import (
    RegistriesConf,
    RegistryTable,
    Source,
    load,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def parse(tmp_path: Path, text: str) -> RegistriesConf:
    """The configuration that this file alone gives."""
    path = write(tmp_path / "only" / "registries.conf", text)
    return load({}, tmp_path / "nobody", path.parent)


def location(conf: RegistriesConf, name: str) -> str:
    table = conf.find(name)
    return table.located(name, table.location) if table else name


FULL = """
unqualified-search-registries = ["quay.io"]
short-name-mode = "permissive"

[[registry]]
prefix = "quay.io/ns"
location = "10.0.0.1:5000/quay/"
insecure = true

[[registry.mirror]]
location = "mirror.example/ns"
insecure = true

[[registry.mirror]]
location = "[2001:db8::1]:5000"
pull-from-mirror = "digest-only"

[aliases]
"x" = "quay.io/x"
"""


def test_everything_is_read(tmp_path: Path) -> None:
    """A table has a prefix, a location, and mirrors in order."""
    path = tmp_path / "only" / "registries.conf"
    assert parse(tmp_path, FULL).find("quay.io/ns/x") == RegistryTable(
        "quay.io/ns",
        "10.0.0.1:5000/quay",
        str(path),
        insecure=True,
        mirrors=(
            Source("mirror.example/ns", insecure=True),
            Source("[2001:db8::1]:5000", pull="digest-only"),
        ),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quay.io/ns/x", "b.example/ns/x"),
        ("quay.io/ns/deep/x", "c.example/p/x"),
        ("quay.io/ns2/x", "a.example/ns2/x"),
        ("quay.io:5000/ns/x", "quay.io:5000/ns/x"),
        ("docker.io/library/x", "docker.io/library/x"),
        ("one.wild.example/x", "one.wild.example/x"),
        ("far.sub.wild.example:5000/x", "flat.example:5000/x"),
        ("my.sub.wild.example/x", "mine.example/x"),
        ("wild.example/x", "wild.example/x"),
        ("notwild.example/x", "notwild.example/x"),
    ],
)
def test_the_longest_prefix_counts(
    tmp_path: Path, name: str, expected: str
) -> None:
    """Prefixes end where a component ends; domains may be wild."""
    conf = RegistriesConf(
        RegistryTable(prefix, place, "file")
        for prefix, place in {
            "quay.io": "a.example",
            "quay.io/ns": "b.example/ns",
            "quay.io/ns/deep": "c.example/p",
            "*.wild.example": "",
            "*.sub.wild.example": "flat.example",
            "my.sub.wild.example": "mine.example",
        }.items()
    )
    assert location(conf, name) == expected


def test_prefix_or_location_will_do(tmp_path: Path) -> None:
    """A prefix or a location that is left out equals the other."""
    conf = parse(
        tmp_path,
        '[[registry]]\nlocation = "a.example"\n'
        '[[registry]]\nprefix = "b.example"\n',
    )
    assert location(conf, "a.example/x") == "a.example/x"
    assert location(conf, "b.example/x") == "b.example/x"


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("Quay.IO", "quay.io"),
        ("*.Wild.example", "one.wild.example"),
        ("index.docker.io", "docker.io"),
    ],
)
def test_hosts_have_no_case(tmp_path: Path, prefix: str, name: str) -> None:
    """Prefixes are spelt as references are."""
    conf = parse(tmp_path, f'[[registry]]\nprefix = "{prefix}"\n')
    assert conf.find(f"{name}/ns/x")


def test_mirrors_by_digest_only(tmp_path: Path) -> None:
    """One key of the table holds for all its mirrors."""
    conf = parse(
        tmp_path,
        '[[registry]]\nlocation = "a.example"\nmirror-by-digest-only = true\n'
        '[[registry.mirror]]\nlocation = "b.example"\n',
    )
    table = conf.find("a.example")
    assert table
    assert table.mirrors == (Source("b.example", pull="digest-only"),)


def test_version_1(tmp_path: Path) -> None:
    """Old files say only what is insecure or blocked."""
    conf = parse(
        tmp_path,
        '[registries.search]\nregistries = ["quay.io"]\n'
        '[registries.insecure]\nregistries = ["a.example", "b.example"]\n'
        '[registries.block]\nregistries = ["b.example"]\n',
    )
    found = [conf.find(f"{name}.example/x") for name in ("a", "b", "quay")]
    assert [(t.insecure, t.blocked) for t in found if t] == [
        (True, False),
        (True, True),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[registry", "is no TOML"),
        ("registry = 7", "registry: expected an array of tables"),
        ("registry = [7]", "registry: expected an array of tables"),
        ("[[registry]]", r"registry\[0\]: has neither prefix nor location"),
        ('[[registry]]\nprefix = ""', "has neither prefix nor location"),
        (
            '[[registry]]\nlocation = "https://a.example"',
            r"registry\[0\]\.location: 'https://a\.example': expected host",
        ),
        ('[[registry]]\nprefix = "a.example/X"', "expected host"),
        ('[[registry]]\nprefix = "a.example/x:1"', "expected host"),
        ('[[registry]]\nprefix = "*.a.example/x"', "have a wildcard"),
        ('[[registry]]\nprefix = "*.*.example"', "expected host"),
        ("[[registry]]\nprefix = 7", "expected a string"),
        (
            '[[registry]]\nprefix = "a.example"\nblocked = "yes"',
            r"registry\[0\]\.blocked: expected true or false",
        ),
        (
            '[[registry]]\nprefix = "a.example"\n[[registry.mirror]]',
            r"registry\[0\]\.mirror\[0\]: has no location",
        ),
        (
            '[[registry]]\nprefix = "a.example"\n[[registry.mirror]]\n'
            'location = "b.example"\npull-from-mirror = "never"',
            "'never': expected all, digest-only or tag-only",
        ),
        (
            '[[registry]]\nprefix = "a.example"\nmirror-by-digest-only = true'
            '\n[[registry.mirror]]\nlocation = "b.example"\n'
            'pull-from-mirror = "all"',
            "cannot stand beside mirror-by-digest-only",
        ),
        (
            '[[registry]]\nprefix = "a.example"\n'
            '[[registry]]\nlocation = "a.example"',
            r"registry\[1\]: a second a\.example",
        ),
        (
            '[[registry]]\nprefix = "A.example"\n'
            '[[registry]]\nprefix = "a.example"',
            r"registry\[1\]: a second a\.example",
        ),
        (
            '[[registry]]\nprefix = "a.example"\n'
            '[registries.insecure]\nregistries = ["a.example"]',
            "version 1 of this file",
        ),
        ("registries = 7", r"registries\.insecure: expected registries"),
        ("registries = {insecure = 7}", "expected registries"),
        ("registries = {block = {registries = 7}}", "expected registries"),
        ("registries = {block = {registries = [7]}}", "expected a string"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    """One line names the file, the key, and what is wrong."""
    with pytest.raises(errors.InvalidFile, match=message) as caught:
        parse(tmp_path, text)
    assert caught.value.path.endswith("only/registries.conf")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"\xff", None])
def test_files_that_cannot_be_read(tmp_path: Path, data: bytes | None) -> None:
    """A file that is no text, or no regular file, is named."""
    path = tmp_path / "registries.conf"
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
    with pytest.raises(errors.InvalidFile, match=r"registries\.conf: "):
        load({}, tmp_path, tmp_path)


def named(registry: str) -> str:
    """A file that locates a.example at this registry."""
    return f'[[registry]]\nprefix = "a.example"\nlocation = "{registry}"\n'


def test_without_files(tmp_path: Path) -> None:
    """Without any file, names are what they are."""
    conf = load({}, tmp_path, tmp_path)
    assert location(conf, "a.example/x") == "a.example/x"


def test_later_files_count(tmp_path: Path) -> None:
    """Of equal prefixes the last file's counts, the user's at the end."""
    etc, home = tmp_path / "etc", tmp_path / "home"
    own = home / ".config" / "containers"
    write(etc / "registries.conf.d" / "99.txt", "no TOML")
    for count, path in enumerate(
        [
            etc / "registries.conf",
            etc / "registries.conf.d" / "10.conf",
            etc / "registries.conf.d" / "20.conf",
            own / "registries.conf.d" / "00.conf",
        ]
    ):
        write(path, named(f"{count}.example"))
        conf = load({}, home, etc)
        assert location(conf, "a.example/x") == f"{count}.example/x"


def test_the_users_file_stands_alone(tmp_path: Path) -> None:
    """Beside the user's own file nothing of the system's is read."""
    etc, home = tmp_path / "etc", tmp_path / "home"
    write(etc / "registries.conf.d" / "10.conf", named("system.example"))
    own = home / ".config" / "containers"
    write(own / "registries.conf", named("own.example"))
    conf = load({}, home, etc)
    assert location(conf, "a.example/x") == "own.example/x"
    write(own / "registries.conf.d" / "10.conf", named("more.example"))
    conf = load({}, home, etc)
    assert location(conf, "a.example/x") == "more.example/x"


def test_named_file(tmp_path: Path) -> None:
    """The environment names a file in place of both; it must exist."""
    own = tmp_path / ".config" / "containers"
    write(own / "registries.conf", named("own.example"))
    path = write(tmp_path / "named.conf", named("named.example"))
    environ = {"CONTAINERS_REGISTRIES_CONF": str(path)}
    conf = load(environ, tmp_path, tmp_path / "etc")
    assert location(conf, "a.example/x") == "named.example/x"
    path.unlink()
    with pytest.raises(errors.InvalidFile, match="no such file") as caught:
        load(environ, tmp_path, tmp_path / "etc")
    assert "CONTAINERS_REGISTRIES_CONF" in str(caught.value.hint)


def test_the_systems_files() -> None:
    """They are where all tools of containers have them."""
    assert Path("/etc/containers") == registries_conf.ETC


def test_routes(tmp_path: Path) -> None:
    """Each repository has its place and its mirrors, written as theirs."""
    hosts = Hosts(registries=parse(tmp_path, FULL))
    assert hosts.route("quay.io", "ns/x/y") == RepositoryLocations(
        RepositoryLocation("10.0.0.1:5000", "quay/x/y", insecure=True),
        (
            RepositoryLocation("mirror.example", "ns/x/y", insecure=True),
            RepositoryLocation(
                "[2001:db8::1]:5000", "x/y", pull="digest-only"
            ),
        ),
    )
    assert hosts.route("quay.io", "other/x") == RepositoryLocations(
        RepositoryLocation("quay.io", "other/x")
    )


def test_an_insecure_namespace_is_not_a_registry(tmp_path: Path) -> None:
    """An insecure namespace does not make its whole registry insecure."""
    conf = '[[registry]]\nprefix = "quay.io/ns"\ninsecure = true\n'
    hosts = Hosts(registries=parse(tmp_path, conf))
    endpoints = {
        name: {
            (endpoint.base, endpoint.tls.verify)
            for endpoint in hosts.candidates(
                *hosts.route("quay.io", name).location.key
            )
        }
        for name in ("ns/x", "other/x")
    }
    assert endpoints == {
        "ns/x": {("https://quay.io", False), ("http://quay.io", False)},
        "other/x": {("https://quay.io", True)},
    }
    assert hosts.tls_of("quay.io").verify


def test_the_parameters_mirror_comes_first(tmp_path: Path) -> None:
    """DockerRegistryMirror goes before the mirrors of docker.io here."""
    conf = (
        '[[registry]]\nprefix = "docker.io"\n'
        '[[registry.mirror]]\nlocation = "second.example"\n'
    )
    hosts = Hosts(
        mirrors={"docker.io": "http://first.example"},
        registries=parse(tmp_path, conf),
    )
    assert [
        place.registry for place in hosts.route("docker.io", "ns/x").mirrors
    ] == ["http://first.example", "second.example"]


def test_homes(tmp_path: Path) -> None:
    """A registry as a whole is elsewhere when all of it is."""
    conf = (
        '[[registry]]\nprefix = "a.example"\nlocation = "b.example:5000"\n'
        '[[registry]]\nprefix = "c.example"\nlocation = "d.example/c"\n'
        '[[registry]]\nprefix = "e.example/x"\nlocation = "f.example"\n'
        '[[registry]]\nprefix = "g.example"\nblocked = true\n'
    )
    hosts = Hosts(registries=parse(tmp_path, conf))
    homes = [hosts.home(f"{name}.example") for name in "aceg"]
    assert [home.location.registry for home in homes] == [
        "b.example:5000",
        "c.example",
        "e.example",
        "g.example",
    ]
    assert [bool(home.blocked_by) for home in homes] == [False] * 3 + [True]


def test_places_that_break_the_grammar() -> None:
    """The location that replaces a wildcard prefix is checked, too."""
    table = RegistryTable("*.a.example", "b.example/ns", "file")
    hosts = Hosts(registries=RegistriesConf([table]))
    with pytest.raises(errors.InvalidReference):
        hosts.route("x.a.example:5000", "ns/x")


def test_fifo_is_refused(tmp_path: Path) -> None:
    """A FIFO in place of the file, or of a drop-in, is not waited for."""
    drop_ins = tmp_path / "registries.conf.d"
    drop_ins.mkdir()
    os.mkfifo(drop_ins / "a.conf")
    with pytest.raises(errors.InvalidFile, match="not a regular file"):
        load({}, tmp_path / "nobody", tmp_path)


def test_deep_nesting(tmp_path: Path) -> None:
    """A file that is nested without end is no TOML."""
    with pytest.raises(errors.InvalidFile, match="nested too deeply"):
        parse(tmp_path, "a=" + "[" * 100_000)
