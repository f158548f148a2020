"""``openstack image-prepare run`` with what it cannot use.

Each is one line that says what and where, perhaps with a hint; the exit
status is right and what was there before is untouched.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.stores.imageserve.catalog import TreeCatalog
from tests.functional import base, deployment
from tests.functional.deployment import Deployment
from tests.mounts import small_disk

OLD = "# the file of an earlier run\n"
HINT = "hint: [^\n]+"
TREE = ("--image-serve", "tree")
_NOBODY = 65534


@pytest.fixture
def site(site: Deployment) -> Deployment:
    """A deployment with the output of an earlier run."""
    site.write("out.yaml", OLD)
    return site


def fails(
    site: Deployment,
    error: str,
    *words: str,
    hint: str = f"(\n{HINT})?",
    environments: tuple[str, ...] = ("env.yaml",),
    tree: str = "tree",
) -> None:
    """Run; it fails with this line, and nothing has changed."""
    before = site.files()
    words = (
        *(word for name in environments for word in ("-e", name)),
        *("--template-file", "table.j2", "--output-env-file", "out.yaml"),
        *("--report", "report.json", *words),
    )
    result = site.openstack(
        *deployment.COMMAND,
        *words,
        status=2,
        stderr=f"{deployment.PLAIN}{error}{hint}",
    )

    assert not result.stdout
    assert (site.home / "out.yaml").read_text() == OLD
    parts = ["", "/.incoming", "/.lock", "/v2"]
    parts += ["/v2/index.json", "/v2/_catalog"]
    allowed = {"report.json", *(f"{tree}{part}" for part in parts)}
    assert site.files() - before <= allowed


# --- environments and roles: some broken files, and what is said of them; the
# rest is in tests/unit/heat

_ENTRY = "parameter_defaults: {ContainerImagePrepare: [%s]}"
_KEY = r"parameter_defaults\.ContainerImagePrepare\[0\]\."
BROKEN = {
    "unknown key": (
        _ENTRY % "{push_destinaton: true, set: {tag: x}}",
        rf"bad.yaml: {_KEY}push_destinaton: unknown key",
        "hint: did you mean push_destination[?]",
    ),
    "bad destination": (
        _ENTRY % "{push_destination: 'http://uc:8787', set: {tag: x}}",
        rf"bad.yaml: {_KEY}push_destination: invalid[^\n]*",
        "hint: leave http:// or https:// out[^\n]*",
    ),
    "destination without brackets": (
        _ENTRY % "{push_destination: 'fd00::1', set: {tag: x}}",
        rf"bad.yaml: {_KEY}push_destination: invalid[^\n]*",
        r"hint: [^\n]*'\[fd00::1\]'",
    ),
    "namespace with a scheme": (
        _ENTRY % "{set: {namespace: 'https://127.0.0.1:1/ns'}}",
        rf"bad.yaml: {_KEY}set: makes 'https://127[^\n]*",
        "hint: leave http:// or https:// out[^\n]*",
    ),
    "bad tag": (
        _ENTRY % "{set: {namespace: 127.0.0.1:1/ns, tag: 'a b'}}",
        r"[^\n]*(bad.yaml|table.j2)[^\n]*a b[^\n]*",
        "",
    ),
    "unknown variable": (
        _ENTRY % "{set: {namespce: quay.io/ns}}",
        rf"bad.yaml: {_KEY}set.namespce: unknown variable",
        "hint: did you mean namespace[?]",
    ),
    "variable of another release": (
        _ENTRY % "{set: {openshift_tag: v3}}",
        rf"bad.yaml: {_KEY}set.openshift_tag: unknown variable",
        "hint: it is a variable of rocky, stein, not of master: leave it out,"
        " or choose another --release",
    ),
    "two users": (
        "parameter_defaults:\n  ContainerImageRegistryCredentials:\n"
        "    quay.io: {canary1: canary2, canary3: canary4}",
        r"bad.yaml: parameter_defaults\.ContainerImageRegistryCredentials"
        r"\.quay\.io: expected one user name with one password, found 2",
        HINT,
    ),
    "no YAML": (
        "parameter_defaults: {ContainerImagePrepare: [",
        "bad.yaml: invalid YAML: line 2, column 1: [^\n]*",
        HINT,
    ),
    "object": (
        "parameter_defaults: !!python/object/apply:os.system [touch pwned]",
        "bad.yaml: invalid YAML: line 1[^\n]*",
        HINT,
    ),
    "endless alias": (
        "parameter_defaults: &a [*a]",
        "bad.yaml: line 1, column [0-9]+: over 250000 values[^\n]*",
        "",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_environment(site: Deployment, name: str) -> None:
    """The line names the file and the key path."""
    text, error, hint = BROKEN[name]
    site.write("bad.yaml", text)

    fails(
        site,
        error,
        *TREE,
        hint=f"\n{hint}" if hint else "",
        environments=("bad.yaml",),
    )


@pytest.mark.parametrize("tag", ["17.10", "0123", "12:30", "yes"])
def test_unquoted_tag(site: Deployment, tag: str) -> None:
    """A tag without quotes is the text that was written."""
    text = (
        f"{{set: {{namespace: {site.registry.host}/ns, tag: {tag}}},"
        " push_destination: uc.example.com:8787}"
    )
    site.write("tag.yaml", _ENTRY % text)
    site.openstack(
        *("image-prepare", "run", "-e", "tag.yaml", *TREE),
        *("--template-file", "table.j2"),
        status=2,
        stderr=f".*/ns/centos-binary-keystone:{tag}[:'].*",
    )


def test_conflicting_strategies(site: Deployment) -> None:
    """Two files that want one parameter merged differently are named."""
    for name, strategy in (("a.yaml", "merge"), ("b.yaml", "overwrite")):
        site.write(
            name,
            "parameter_defaults: {X: [1]}\n"
            f"parameter_merge_strategies: {{X: {strategy}}}\n",
        )

    fails(
        site,
        r"b.yaml: parameter_merge_strategies\.X: [^\n]*a.yaml[^\n]*"
        r"|b.yaml: parameter_merge_strategies\.X: [^\n]*",
        *TREE,
        environments=("env.yaml", "a.yaml", "b.yaml"),
    )


def test_directory_as_environment(site: Deployment) -> None:
    """A directory is none; the hint names the option for directories."""
    (site.home / "envs").mkdir()
    fails(
        site,
        "envs: is a directory, not a file",
        hint="\nhint: [^\n]*--environment-directory[^\n]*",
        environments=("envs",),
    )


def test_broken_roles(site: Deployment) -> None:
    """The line names the roles file, which role, and the key."""
    site.write("roles.yaml", "- {name: A, CountDefault: many}")
    told = r"roles.yaml: \[0\]\.CountDefault: [^\n]*"
    fails(site, told, *TREE, "-r", "roles.yaml")


#: Options, and what is said of them.
OPTIONS = {
    "missing roles": (("-r", "no.yaml"), "no.yaml: no such file"),
    "unknown release": (
        ("--release", "oslo"),
        "'oslo': no such release\nhint: one of queens, [^\n]*",
    ),
    "missing directory": (
        ("--environment-directory", "no"),
        "environment directory no: no such file or directory",
    ),
    "missing plan": (
        ("--plan-dir", "no"),
        "plan no: no such file or directory",
    ),
    "no plan": (
        ("--plan-dir", "/usr"),
        r"plan /usr: is no deployment plan: there is no plan-environment.yaml",
    ),
    "bad insecure registry": (
        ("--insecure-registry", "http://x"),
        "[^\n]*invalid registry 'http://x'[^\n]*",
    ),
    "missing certificates": (("--cacert", "no.crt"), "no.crt: [^\n]*"),
    "missing credentials": (("--authfile", "no.json"), "no.json: [^\n]*"),
    "no ceph credentials": (
        ("--ceph-vars-file", "ceph.yaml"),
        "no credentials for the registry of ceph_namespace[^\n]*",
    ),
    "tree is a file": (
        ("--image-serve", "table.j2"),
        "[^\n]*/table.j2: not a directory",
    ),
    "tree in no directory": (
        ("--image-serve", "no/tree"),
        "[^\n]*/no/tree: [^\n]*/no is no directory",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_broken_option(site: Deployment, name: str) -> None:
    """The line names what was given, and nothing is made."""
    words, error = OPTIONS[name]
    fails(site, error, *TREE, *words)


#: All that take a value, but for numbers and choices.
VALUES = [
    *("-e", "--environment-directory", "-r", "--release"),
    *("--template-file", "--plan", "--plan-dir", "--output-env-file"),
    *("--ceph-vars-file", "--report", "--log-file", "--platform"),
    *("--image-serve", "--insecure-registry", "--cacert", "--authfile"),
]


def test_empty_value(site: Deployment) -> None:
    """It is not as if the option were left out: a variable may be unset."""
    for words in (*((option, "") for option in VALUES), ("--plan=",)):
        fails(
            site,
            f"{words[0].rstrip('=')}: its value is empty",
            *words,
            hint="\nhint: [^\n]*leave it out[^\n]*unset",
        )
    assert not site.registry.log


@pytest.mark.parametrize(
    "option", ["--output-env-file", "--report", "--ceph-vars-file"]
)
def test_directory_of_output_is_missing(site: Deployment, option: str) -> None:
    """It is found out before anything is copied."""
    host = site.registry.host
    site.environment(
        site.entry(set=site.values(tag="17.1", ceph_namespace=host)),
        ContainerImageRegistryCredentials={host: {"operator": "x"}},
    )
    fails(
        site, "no/file: no such directory: [^\n]*/no", *TREE, option, "no/file"
    )

    assert not site.registry.requests("GET", "/blobs/")


def test_output_is_a_directory(site: Deployment) -> None:
    """It is found out before anything is copied."""
    (site.home / "directory").mkdir()
    fails(
        site,
        "directory: is a directory",
        *TREE,
        "--output-env-file",
        "directory",
    )

    assert not site.registry.requests("GET", "/blobs/")


def test_one_file_for_two_results(site: Deployment) -> None:
    """One of them would be lost."""
    fails(
        site,
        r"\./out\.yaml: two results cannot be one file",
        *TREE,
        *("--report", "./out.yaml"),
    )


@pytest.mark.parametrize("path", ["env.yaml", "./table.j2", "roles.yaml"])
def test_result_over_an_input(site: Deployment, path: str) -> None:
    """The user's input is not replaced by a result."""
    site.write("roles.yaml", "[{name: A}]")
    before = (site.home / path).read_text()
    fails(
        site,
        rf"{path}: it was read for this run, and would be replaced",
        *("-r", "roles.yaml", *TREE),
        *("--output-env-file", path),
    )
    assert (site.home / path).read_text() == before


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--output-env-file", "network.yaml"),
        ("--report", "out.yaml"),
        ("--ceph-vars-file", "network.yaml"),
        ("--report", "auth.json"),
        ("--log-file", "network.yaml"),
        ("--log-file", "roles.yaml"),
    ],
)
def test_result_over_another_file(
    site: Deployment, option: str, path: str
) -> None:
    """Nor are other files that the command line names."""
    site.write("network.yaml", "parameter_defaults: {NtpServer: [a/b]}")
    site.write("auth.json", '{"auths": {}}')
    site.write("roles.yaml", "[{name: A}]")
    before = (site.home / path).read_text()
    fails(
        site,
        rf"{path}: (it was read for this run, and would be replaced|two"
        " results cannot be one file)",
        *("-e", "network.yaml", "-r", "roles.yaml", *TREE),
        *("--authfile", "auth.json", option, path),
    )
    # The shell opens the log by itself, and has the error in it.
    assert (site.home / path).read_text().startswith(before)


@pytest.mark.parametrize(
    "path",
    [
        "plan/plan-environment.yaml",
        "plan/environments/containers-default-parameters.yaml",
        "other/new.yaml",
    ],
)
def test_result_in_the_plan(site: Deployment, path: str) -> None:
    """A plan has its own file for the parameters; all else is its own."""
    site.write("plan/plan-environment.yaml", "name: x\n")
    (site.home / "plan/environments").mkdir()
    (site.home / "other").symlink_to("plan")
    before = site.files()
    fails(
        site,
        f"{path}: it is in plan, which is no place for results",
        *("--plan-dir", "plan", *TREE, "--output-env-file", path),
    )
    assert site.files() == before


def test_log_is_no_result(site: Deployment) -> None:
    """A log that is written all the time is no result."""
    site.write("run.log", "")
    fails(
        site,
        "run.log: two results cannot be one file",
        *(*TREE, "--log-file", "run.log", "--report", "run.log"),
    )


def test_result_over_an_older_one(site: Deployment) -> None:
    """The result of an earlier run may be among the environments."""
    site.run(*TREE, "--output-env-file", "out.yaml")
    before = site.defaults()
    site.run("-e", "out.yaml", *TREE, "--output-env-file", "out.yaml")
    assert site.defaults() == before


def test_plan_that_cannot_be_written(site: Deployment) -> None:
    """That is found out before anything is copied."""
    site.write("plan/plan-environment.yaml", "name: x\n")
    site.write("plan/environments", "")
    fails(
        site,
        "plan plan: environments/containers-default-parameters.yaml: cannot be"
        " written: not a directory",
        *("--plan-dir", "plan", *TREE),
    )


def test_tree_behind_a_broken_link(site: Deployment) -> None:
    """Where the link leads is told; nothing is made there."""
    (site.home / "link").symlink_to("gone")
    fails(
        site,
        r"\S*/link: a symbolic link to gone, which is not there",
        *("--image-serve", "link"),
    )


def test_open_file_as_output(site: Deployment) -> None:
    """A stream cannot be replaced as a whole."""
    fails(
        site,
        "/dev/stdout: is not a regular file",
        *TREE,
        *("--output-env-file", "/dev/stdout"),
    )


# --- registries

# Tries follow one another; each is told once for all images.
_WAITING = "".join(
    rf"127\.0\.0\.1:1: connection refused; attempt {n} of 5 in [0-9]+ s\n"
    for n in range(2, 6)
)


def test_registry_does_not_answer(site: Deployment) -> None:
    """One line for all images of a registry, exit 2, and no tree."""
    values = site.values(namespace="127.0.0.1:1/ns", tag="17.1")
    site.environment(site.entry(set=values))
    fails(
        site,
        rf"{_WAITING}127\.0\.0\.1:1/ns/openstack-[^\n]*: connection refused",
        *TREE,
        hint="\nhint: nothing listens on port 1 of this host: is its registry"
        " running, and is that its port[?]",
    )


def test_destination_does_not_answer(site: Deployment) -> None:
    """The same for the registry that is copied to."""
    site.environment(site.entry(push_destination="127.0.0.1:1"))
    fails(
        site,
        rf"{_WAITING}[^\n]* \(destination\): 127\.0\.0\.1:1: connection"
        " refused",
    )


@pytest.mark.parametrize(
    ("parameter", "value", "hint"),
    [
        ("DockerInsecureRegistryAddress", ["http://uc:8787"], "leave http://"),
        ("DockerInsecureRegistryAddress", [""], None),
        ("DockerInsecureRegistryAddress", "a:1,fd00::1", r"put brackets"),
        ("DockerInsecureRegistryAddress", ["192.168.24.0/33"], None),
        ("DockerRegistryMirror", "ftp://mirror", None),
        ("LocalContainerRegistry", "192.168.24.1:8787", "leave the port out"),
        ("LocalContainerRegistry", "http://192.168.24.1", "leave http://"),
    ],
)
def test_registries_that_are_none(
    site: Deployment, parameter: str, value: object, hint: str | None
) -> None:
    """The line names the file, the parameter, and the remedy."""
    parameters: Any = {parameter: value}
    site.environment(site.entry(push_destination=True), **parameters)
    site.run(
        status=2,
        stderr=rf"env.yaml: parameter_defaults\.{parameter}: [^\n]*"
        + (rf"\nhint: {hint}[^\n]*" if hint else ""),
    )


def test_dry_run_without_its_destination(site: Deployment) -> None:
    """One line says that the images were not looked up at the destination."""
    site.environment(site.entry(push_destination="127.0.0.1:1"))
    site.run(
        "--dry-run",
        stderr="WARNING: 127[^\n]*no node can pull[^\n]*\n"
        "WARNING: 3 images: [^\n]*connection refused; also [^\n]*",
    )


@pytest.mark.parametrize("push", [deployment.UNDERCLOUD, False])
def test_missing_image(site: Deployment, push: str | bool) -> None:
    """An image that is not there is named; nothing changed, exit 2."""
    site.registry.fail(
        "", "/openstack-nova-api/manifests/", status=404, times=None
    )
    before = site.files()
    site.environment(site.entry(push_destination=push))
    site.run(
        *TREE,
        "--output-env-file",
        "out.yaml",
        status=2,
        stderr="1 of 3 images failed\n"
        "  [^\n]*openstack-nova-api:17.1: [^\n]* 404[^\n]*",
    )

    assert (site.home / "out.yaml").read_text() == OLD
    assert not {f for f in site.files() - before if "sha256" in f}


def test_file_of_another_release(site: Deployment) -> None:
    """Public namespaces and tags name the probable release, unless a release
    is named.

    The variable default_tag is one that ``default`` once wrote.
    """
    values = site.values(
        namespace=f"{site.registry.host}/rhosp-rhel8", tag="16.2"
    )
    site.environment(site.entry(set={**values, "default_tag": True}))
    probable = (
        r"WARNING: env.yaml: [^\n]*set.namespace: the image table is that"
        r" of release master: name the release of these images with --release"
        r" \(probably train\)\n"
    )
    for named, warning in ((), probable), (("--release", "train"), ""):
        site.run(
            *(*TREE, *named),
            status=2,
            stderr=f"{warning}3 of 3 images failed\n  3 images: [^\n]*"
            r"\nhint: no tags of this repository are listed: [^\n]*",
        )


def test_all_images_missing(site: Deployment) -> None:
    """Images with one cause are one line with all names, exit 2."""
    site.environment(site.entry(set=site.values(tag="no-such-tag")))
    result = site.run(
        *TREE,
        status=2,
        stderr="3 of 3 images failed\n"
        "  3 images: [^\n]*404[^\n]*; also [^\n]*"
        "\nhint: no similar tag; some that exist: 17[.]1, [^\n]*",
    )

    for name in deployment.NAMES:
        assert f"/openstack-{name}:no-such-tag" in result.messages


def test_missing_label(site: Deployment) -> None:
    """The image, the label, and the labels that there are, exit 2."""
    for name in deployment.NAMES:
        site.registry.fail(
            "", f"{name}/manifests/current", status=404, times=None
        )
        store = site.registry.content.store(f"ns/openstack-{name}")
        store.tag(store.resolve("17.1"), "newest")
    site.environment(
        site.entry(set=site.values(), tag_from_label="no-such-label")
    )
    site.run(
        *TREE,
        *("--output-env-file", "out.yaml"),
        status=2,
        stderr=r"no tag could be discovered for 3 images\n"
        r"  3 images: [^\n]*: no label no-such-label; its labels:"
        rf" name, release, version; also [^\n]*\n{HINT}",
    )
    assert (site.home / "out.yaml").read_text() == OLD


def test_label_without_tag_keep_going(site: Deployment) -> None:
    """With --keep-going the other images are copied, and it is exit 1."""
    store = site.registry.content.store("ns/openstack-nova-api")
    store.untag("17.1.3")
    site.environment(site.entry(set=site.values(), tag_from_label="version"))
    rows = site.rows(
        *(*TREE, "--keep-going", "--report", "report.json"),
        *("--output-env-file", "out.yaml"),
        status=1,
        stderr=r"1 of 3 images failed\n  [^\n]*openstack-nova-api:current"
        r"[^\n]*: label version gives tag 17.1.3, which is not in[^\n]*"
        r"\nhint: the nearest tags there are: [^\n]*\n?",
    )
    outcomes = sorted(row["Outcome"] for row in rows)
    assert outcomes == ["copied", "copied", "failed"]
    assert "gives tag 17.1.3" in (site.home / "report.json").read_text()
    assert (site.home / "out.yaml").read_text() == OLD


# --- disks and rights


@pytest.mark.needs_root
def test_disk_is_too_small(
    site: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Before anything is written it says what is needed and what is free."""
    with small_disk(site.home / "disk", "size=64k", caplog):
        fails(
            site,
            f"[^\n]*/disk/tree: {site.images.unique_bytes} bytes needed,"
            " [0-9]+ bytes free",
            *("--image-serve", "disk/tree"),
            hint=f"\n{HINT}",
            tree="disk/tree",
        )


@pytest.mark.parametrize("command", ["run", "push", "prune", "verify"])
def test_unknown_column(site: Deployment, command: str) -> None:
    """A column that does not exist is refused before anything is done."""
    words = {
        "run": ("-e", "env.yaml", *TREE),
        "push": ("a/b:1",),
        "prune": ("--keep-last", "1"),
        "verify": (),
    }
    site.openstack(
        *("image-prepare", command, *words[command]),
        *("-c", "Image", "-c", "Nmae"),
        status=2,
        stderr=r"--column \w+: no such column\nhint: one of [^\n]*",
    )
    assert not site.registry.log


@pytest.mark.needs_root
def test_disk_of_a_result_is_full(
    site: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """A result that does not fit is told with what is in place: status 1."""
    with small_disk(site.home / "disk", "size=64k", caplog):
        (site.home / "disk/filler").write_bytes(bytes(64 * 1024))
        (site.home / "disk/out.yaml").touch()
        site.run(
            *(*TREE, "--output-env-file", "disk/out.yaml"),
            status=1,
            stderr=r"all images are in place, but results could not be written"
            r"\n  disk/out.yaml: [^\n]*no space left on device(\nhint: .*)?",
        )
        assert (site.home / "disk/out.yaml").read_text() == ""


@pytest.mark.needs_root
def test_disk_of_a_report_is_full(
    site: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """The summary names the reports that were written, and no other."""
    with small_disk(site.home / "disk", "size=64k", caplog):
        (site.home / "disk/filler").write_bytes(bytes(64 * 1024))
        (site.home / "disk/report.html").touch()
        done = site.run(
            *(*TREE, "--report", "report.json"),
            *("--report-html", "disk/report.html"),
            status=1,
            stderr=r"disk/report.html: [^\n]*no space left on device"
            r"(\nhint: .*)?",
        )
    assert "report written to report.json" in done.summary
    assert "report.html" not in done.summary


def test_tree_and_layout(site: Deployment) -> None:
    """A destination in a directory contradicts --image-serve."""
    site.environment(site.entry(push_destination="oci:images"))
    before = site.files()
    site.run(
        *TREE,
        status=2,
        stderr=r"env.yaml: [^\n]*\[0\]\.push_destination: oci:[^\n]*: a"
        r" directory, and --image-serve names another\nhint: [^\n]*",
    )
    assert site.files() == before


@pytest.mark.needs_root
def test_disk_fills_up(
    site: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that fills up is told, and no tag is written."""
    with small_disk(site.home / "disk", "size=1m", caplog):
        free = os.statvfs(site.home / "disk").f_bavail * 4096
        filler = site.home / "disk/filler"

        def fill(tree: object) -> int:
            filler.write_bytes(bytes(free - 100_000))
            return free

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TreeCatalog, "free_space", fill)
            told = site.run(
                *("--image-serve", "disk/tree"),
                *("--output-env-file", "out.yaml"),
                status={1, 2},
                # A directory that cannot be made has no size, and several
                # images may fail at once.
                stderr=r"([23] of 3 images failed\n)?([^\n]*no space left on"
                r" device: ([0-9]+ bytes needed, )?[0-9]+ bytes free[^\n]*\n)+"
                r"hint: make room there[^\n]*(\n3 images: [^\n]*)?",
            )
        assert not list((site.home / "disk").rglob("*.type-map"))
        assert not list((site.home / "disk/tree/.incoming").iterdir())
        # Blobs that arrive together may fill it before one is complete.
        is_changed = any((site.home / "disk/tree").rglob("blobs/sha256*"))
        assert told.status == (1 if is_changed else 2)
    assert (site.home / "out.yaml").read_text() == OLD


def without_power(site: Deployment, *words: str) -> base.Result:
    """The failure of the installed program without root's power over files."""
    return site.openstack.installed(
        *site.words(*words),
        status=2,
        stderr=".*",
        through=("setpriv", "--bounding-set=-dac_override,-dac_read_search"),
    )


def told(result: base.Result) -> list[str]:
    """The lines on stderr, but for that a registry here speaks plain HTTP."""
    lines = result.messages.splitlines()
    return [line for line in lines if not re.match("WARNING: 127", line)]


def give(path: Path) -> None:
    """Let all below a path be somebody else's."""
    for each in (path, *path.rglob("*")):
        os.chown(each, _NOBODY, _NOBODY)


@pytest.mark.needs_root
@pytest.mark.parametrize("inside", ["", "v2"])
def test_tree_of_another_user(site: Deployment, inside: str) -> None:
    """The tree is not to be written by this user: the hint says sudo."""
    site.run(*TREE)
    before = site.files()
    give(site.home / "tree" / inside)
    done = without_power(site, *TREE, "--output-env-file", "out.yaml")

    error, hint = told(done)
    assert error.startswith(str(site.home / "tree"))
    assert error.endswith(": permission denied")
    assert hint.startswith("hint: run it with sudo")
    assert (site.home / "out.yaml").read_text() == OLD
    assert site.files() == before


@pytest.mark.needs_root
@pytest.mark.parametrize("inside", [".", "environments", ".image-prepare"])
def test_plan_of_another_user(site: Deployment, inside: str) -> None:
    """A plan that cannot be written is refused before anything is copied."""
    site.write("plan/plan-environment.yaml", "name: x\n")
    site.write("plan/environments/site.yaml", "")
    (site.home / "plan/.image-prepare").mkdir()
    before = site.files()
    give(site.home / "plan" / inside)
    done = without_power(site, *TREE, "--plan-dir", "plan")

    error, hint = told(done)
    assert error.startswith("plan plan: ")
    assert ": cannot be written: " in error
    assert hint.startswith("hint: ")
    assert site.files() == before
    assert not site.registry.log


@pytest.mark.needs_root
def test_repository_of_another_user(site: Deployment) -> None:
    """One repository is not to be written: its image fails, exit 2."""
    site.run(*TREE)
    home = site.home / "tree/v2/ns/openstack-keystone"
    (home / "manifests/17.1.type-map").unlink()
    before = site.files()
    give(home)
    done = without_power(site, *TREE, "--output-env-file", "out.yaml")

    summary, error, hint = told(done)
    assert summary == "1 of 3 images failed"
    assert f"{home}/" in error
    assert error.endswith(": permission denied")
    assert hint.startswith("hint: run it with sudo")
    assert (site.home / "out.yaml").read_text() == OLD
    assert site.files() == before


@pytest.mark.needs_root
def test_output_of_another_user(site: Deployment) -> None:
    """An output file that cannot be replaced is known before the copy."""
    (site.home / "locked").mkdir(mode=0o755)
    give(site.home / "locked")
    before = site.files()
    done = without_power(site, *TREE, "--output-env-file", "locked/out.yaml")

    error, hint = told(done)
    assert error == "locked/out.yaml: cannot be written: permission denied"
    assert hint.startswith("hint: ")
    assert site.files() == before
