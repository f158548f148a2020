"""The parameters of image preparation."""

from __future__ import annotations

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.heat import environment, parameters


def parse(**values):
    """The typed parameters of these parameter defaults."""
    layer = environment.from_data({"parameter_defaults": values}, "env.yaml")
    return parameters.parse(environment.merge([layer]))


def entry(**values):
    """The one entry with these keys."""
    (found,) = parse(ContainerImagePrepare=[values]).entries
    return found


def refused(key, **values) -> errors.InvalidFile:
    """The error that these defaults cause, at `key`."""
    with pytest.raises(errors.InvalidFile) as caught:
        parse(**values)
    assert caught.value.path == "env.yaml"
    assert caught.value.key == f"parameter_defaults.{key}"
    assert "\n" not in str(caught.value)
    return caught.value


def entry_refused(key, **values) -> errors.InvalidFile:
    """The error that an entry with these keys causes, at `key`."""
    prefix = "ContainerImagePrepare[1]"
    return refused(
        f"{prefix}.{key}", ContainerImagePrepare=[{"set": {}}, values]
    )


def test_nothing():
    """Without parameters there is the release's default and nothing else."""
    assert parse() == parameters.PrepareParameters(
        entries=None,
        credentials={},
        insecure_registries=(),
        docker_hub_mirror=None,
        additional_architectures=(),
        local_registry=None,
        neutron_mechanism_drivers=None,
    )


@pytest.mark.parametrize("value", [None, [], {}])
def test_empty_prepare(value):
    """No entries mean the release's default."""
    assert parse(ContainerImagePrepare=value).entries is None


@pytest.mark.parametrize("value", ["x", "", {"set": {}}, 1, False])
def test_prepare_that_is_no_list(value):
    """Entries are a list."""
    error = refused("ContainerImagePrepare", ContainerImagePrepare=value)
    assert "expected a list" in error.problem


def test_entry_that_is_no_mapping():
    """The error names the element."""
    refused("ContainerImagePrepare[0]", ContainerImagePrepare=["x"])


def test_smallest_entry():
    """Every key of an entry may be missing."""
    assert entry() == parameters.PrepareEntry(
        path="env.yaml", key="parameter_defaults.ContainerImagePrepare[0]"
    )


def test_whole_entry():
    """Each key becomes its field."""
    found = entry(
        push_destination="192.0.2.1:8787",
        pull_source="registry.example.com",
        set={"tag": "t", "neutron_driver": None, "rhel_containers": False},
        tag_from_label="{version}-{release}",
        includes=["nova", "a+b"],
        excludes=["^x$"],
        multi_arch=True,
        modify_role="tripleo-modify-image",
        modify_append_tag="-hotfix",
        modify_vars={"tasks_from": "yum_update.yml", "deep": [1]},
        modify_only_with_labels=["rdo_version"],
        modify_only_with_source=["kolla"],
    )
    assert found == parameters.PrepareEntry(
        path="env.yaml",
        key="parameter_defaults.ContainerImagePrepare[0]",
        push_destination="192.0.2.1:8787",
        pull_source="registry.example.com",
        values={"tag": "t", "neutron_driver": None, "rhel_containers": False},
        tag_from_label="{version}-{release}",
        includes=("nova", "a+b"),
        excludes=("^x$",),
        multi_arch=True,
        modify_role="tripleo-modify-image",
        modify_append_tag="-hotfix",
        modify_vars={"tasks_from": "yum_update.yml", "deep": [1]},
        modify_only_with_labels=("rdo_version",),
        modify_only_with_source=("kolla",),
    )


@pytest.mark.parametrize(
    "key",
    [
        "excludes",
        "includes",
        "modify_only_with_labels",
        "modify_only_with_source",
        "modify_role",
        "modify_vars",
        "multi_arch",
        "pull_source",
        "push_destination",
        "set",
        "tag_from_label",
    ],
)
def test_null(key):
    """A key without a value is as good as missing."""
    assert entry(**{key: None}) == entry()


@pytest.mark.parametrize("value", [None, ""])
def test_append_nothing(value):
    """An empty append tag is none, unlike a missing one."""
    assert entry(modify_append_tag=value).modify_append_tag == ""
    assert entry().modify_append_tag is None


@pytest.mark.parametrize(
    ("value", "result"),
    [(True, True), (False, False), ("", False), ("a:8787/b", "a:8787/b")],
)
def test_push_destination(value, result):
    """The undercloud's registry, none, or the one that is named."""
    assert entry(push_destination=value).push_destination == result


@pytest.mark.parametrize("value", ["true", "True", "FALSE", "yes", "off"])
def test_push_destination_quoted(value):
    """A quoted boolean is no registry."""
    error = entry_refused("push_destination", push_destination=value)
    assert "without quotes" in error.hint


@pytest.mark.parametrize("value", [1, ["a"], {}])
def test_push_destination_of_another_type(value):
    """Only booleans and strings are destinations."""
    entry_refused("push_destination", push_destination=value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("push_destnation", "did you mean push_destination?"),
        ("exclude", "did you mean excludes?"),
        ("tag", "write tag below set"),
        ("ceph_namespace", "write ceph_namespace below set"),
        ("name_prefix", "write name_prefix below set"),
        ("neutron_driver", "write neutron_driver below set"),
    ],
)
def test_unknown_key(key, hint):
    """The error names the key and what was probably meant."""
    error = entry_refused(key, **{key: "x"})
    assert error.problem == "unknown key"
    assert error.hint == hint


def test_unknown_key_like_no_other():
    """The hint has the keys that there are."""
    error = entry_refused("zzz", zzz=1)
    assert "an entry has the keys excludes, includes," in error.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pull_source", 1),
        ("tag_from_label", ["a"]),
        ("modify_role", {}),
        ("modify_append_tag", -1),
        ("modify_vars", "a"),
        ("modify_only_with_labels", "a"),
        ("modify_only_with_source", {}),
        ("includes", "nova"),
        ("excludes", {"nova": 1}),
        ("multi_arch", "true"),
        ("multi_arch", "false"),
        ("set", ["tag"]),
    ],
)
def test_wrong_type(key, value):
    """A value of another type is refused by its key."""
    assert "expected" in entry_refused(key, **{key: value}).problem


@pytest.mark.parametrize("name", ["..", "../x", "./x", "a/../../x"])
def test_relative_path_of_a_role(name):
    """A role is found by its name, not from the current directory."""
    error = entry_refused("modify_role", modify_role=name)
    assert "expected the name of an ansible role" in error.problem


@pytest.mark.parametrize("name", ["/etc/roles/x", "site.images.x", "a.x"])
def test_names_of_roles(name):
    """Absolute paths and roles of collections are taken as they are."""
    assert entry(modify_role=name).modify_role == name


@pytest.mark.parametrize("value", ["16.2", 16.2, 17, True])
def test_set_scalars(value):
    """Strings, numbers and booleans can be set."""
    assert entry(set={"my_value": value}).values == {"my_value": value}


@pytest.mark.parametrize("value", [["a"], {"a": "b"}])
def test_set_collections(value):
    """Lists and mappings cannot."""
    error = entry_refused("set.tag", set={"tag": value})
    assert "expected a string, number or boolean" in error.problem


@pytest.mark.parametrize("name", ["neutron_driver", "ceph_images"])
def test_set_null(name):
    """Some variables may be null."""
    assert entry(set={name: None}).values == {name: None}


@pytest.mark.parametrize("name", ["tag", "name_suffix", "namespace"])
def test_set_null_in_a_name(name):
    """Others would put the word None into names."""
    error = entry_refused(f"set.{name}", set={name: None})
    assert error.hint == "write '' for an empty value"


@pytest.mark.parametrize(
    "name", ["tag", "ceph_tag", "namespace", "name_prefix", "tag_stein"]
)
def test_set_parts_of_names(name):
    """A boolean whose text is not known is no part of a name."""
    error = entry_refused(f"set.{name}", set={name: True})
    assert error.hint == "put the value in quotes"


@pytest.mark.parametrize("key", ["includes", "excludes"])
@pytest.mark.parametrize("pattern", ["*nova*", "(", "a{1,99999999999999}"])
def test_invalid_pattern(key, pattern):
    """An expression that does not compile is named by its index."""
    error = entry_refused(f"{key}[1]", **{key: ["ok", pattern]})
    assert "is no regular expression: " in error.problem
    assert "not shell patterns" in error.hint


def test_pattern_that_is_no_string():
    """Patterns are strings."""
    entry_refused("includes[0]", includes=[1])


def test_parse_entries():
    """Entries from elsewhere are read by the same rules."""
    (found,) = parameters.parse_entries(
        [{"set": {"tag": "t"}}], "zed", "defaults"
    )
    assert (found.path, found.key) == ("zed", "defaults[0]")
    assert found.values == {"tag": "t"}


def test_error_names_the_file_that_set_the_value():
    """With several files it is the last one that has the parameter."""
    layers = [
        environment.from_data(
            {"parameter_defaults": {"ContainerImagePrepare": [{"a": 1}]}}, name
        )
        for name in ("a.yaml", "b.yaml")
    ]
    with pytest.raises(errors.InvalidFile) as caught:
        parameters.parse(environment.merge(layers))
    assert caught.value.path == "b.yaml"


def test_credentials():
    """One user for each registry."""
    found = parse(
        ContainerImageRegistryCredentials={
            "quay.io": {"me": "s3cret"},
            "192.0.2.1:8787": {"you": "pa ss"},
        }
    ).credentials
    assert found == {
        "quay.io": parameters.Credential(username="me", password="s3cret"),
        "192.0.2.1:8787": parameters.Credential(
            username="you", password="pa ss"
        ),
    }
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("value", [None, {}])
def test_no_credentials(value):
    """The parameter may be empty."""
    assert parse(ContainerImageRegistryCredentials=value).credentials == {}


@pytest.mark.parametrize(
    "users",
    [
        None,
        "s3cret",
        ["s3cret"],
        {},
        {"s3cret": None},
        {"s3cret": ""},
        {"s3cret": 12345},
        {"s3cret": {"s3cret": "s3cret"}},
        {12345: "s3cret"},
        {"": "s3cret"},
        {"me": "s3cret", "you": "s3cret"},
        {"username": "me", "password": "s3cret"},
    ],
)
def test_credential_that_is_none(users):
    """The error names the registry and nothing that may be secret."""
    error = refused(
        "ContainerImageRegistryCredentials.quay.io",
        ContainerImageRegistryCredentials={"quay.io": users},
    )
    assert error.hint
    for secret in ("s3cret", "12345"):
        assert secret not in f"{error} {error.hint}"


def test_numeric_password():
    """The hint says to quote it."""
    error = refused(
        "ContainerImageRegistryCredentials.quay.io",
        ContainerImageRegistryCredentials={"quay.io": {"me": 12345}},
    )
    assert "the password is a number" in error.problem
    assert "the password in quotes" in error.hint


@pytest.mark.parametrize("value", ["quay.io", [], {8787: {"me": "x"}}])
def test_credentials_that_are_no_mapping(value):
    """Registries are names in a mapping."""
    refused(
        "ContainerImageRegistryCredentials",
        ContainerImageRegistryCredentials=value,
    )


@pytest.mark.parametrize("value", ["a:1, b:2", ["a:1", "b:2"]])
def test_insecure_registries(value):
    """A list or a comma-delimited string."""
    found = parse(DockerInsecureRegistryAddress=value)
    assert found.insecure_registries == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("value", "result"), [("", ()), (None, ()), (["ppc64le"], ("ppc64le",))]
)
def test_additional_architectures(value, result):
    """Empty and null are none."""
    found = parse(AdditionalArchitectures=value)
    assert found.additional_architectures == result


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        ("", ()),
        ("openvswitch, ovn", ("openvswitch", "ovn")),
        (["ovn"], ("ovn",)),
        ("sriovnicswitch,x", ("sriovnicswitch", "x", "ovn")),
        (["sriovnicswitch"], ("sriovnicswitch",)),
    ],
)
def test_neutron_mechanism_drivers(value, result):
    """Not set differs from empty, and a string from a list."""
    found = parse(NeutronMechanismDrivers=value)
    assert found.neutron_mechanism_drivers == result


def test_mirror_and_local_registry():
    """Both are plain strings."""
    found = parse(DockerRegistryMirror="m", LocalContainerRegistry="192.0.2.1")
    assert (found.docker_hub_mirror, found.local_registry) == (
        "m",
        "192.0.2.1",
    )


@pytest.mark.parametrize(
    "name",
    [
        "AdditionalArchitectures",
        "DockerInsecureRegistryAddress",
        "DockerRegistryMirror",
        "LocalContainerRegistry",
        "NeutronMechanismDrivers",
    ],
)
def test_parameter_of_another_type(name):
    """Each is refused by its name."""
    refused(name, **{name: 1})


def test_parameters_section_is_not_read():
    """Image preparation goes by defaults alone."""
    layer = environment.from_data(
        {"parameters": {"ContainerImagePrepare": [{"set": {"tag": "t"}}]}}, "f"
    )
    assert parameters.parse(environment.merge([layer])).entries is None


def test_render():
    """Comments, an empty line, then sorted names in block style."""
    text = parameters.render(
        {"B": "quay.io/ns/b:1", "A": ["x", "y"]}, ["Generated now", "", "run"]
    )
    assert text == (
        "# Generated now\n"
        "#\n"
        "# run\n"
        "\n"
        "parameter_defaults:\n"
        "  A:\n"
        "  - x\n"
        "  - y\n"
        "  B: quay.io/ns/b:1\n"
    )


def test_render_without_header():
    """Then there is only YAML."""
    assert parameters.render({}) == "parameter_defaults: {}\n"


def test_render_header_that_breaks_lines():
    """All of the header stays within the comments."""
    text = parameters.render({}, ["run -e a\nparameters: {}", "\x1b[1m\x00"])
    assert text == (
        "# run -e a\n# parameters: {}\n# \\x1b[1m\\x00\n"
        "\nparameter_defaults: {}\n"
    )
    assert yaml.safe_load(text) == {"parameter_defaults": {}}


def test_render_round_trip():
    """Strings that look like other types stay strings."""
    values = {
        "date": "2024-05-01",
        "empty": "",
        "float": "16.2",
        "int": "17",
        "long": "word " * 100,
        "lines": "a\nb\n",
        "null": "null",
        "sexagesimal": "1:30",
        "true": "true",
        "umlaut": "\u00fc",
        "yes": "yes",
        "equals": "=",
        "nested": {"b": [1, None, True, 1.5], "a": {}},
    }
    text = parameters.render(values)
    assert yaml.safe_load(text) == {"parameter_defaults": values}


def test_render_repeats_what_is_shared():
    """There are no anchors in the file."""
    shared = ["a"]
    text = parameters.render({"A": shared, "B": shared})
    assert "&" not in text
    assert "*" not in text


def test_render_is_stable():
    """The order of the parameters does not matter."""
    one = parameters.render({"A": "1", "B": "2"})
    assert one == parameters.render({"B": "2", "A": "1"})
