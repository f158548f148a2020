"""From entries and a table to what there is to do."""

import datetime

import pytest

from imageprep_client import catalog, errors
from imageprep_client.catalog import filters
from imageprep_client.container import worklist
from imageprep_client.container.worklist import Modification, Pin, Query
from imageprep_client.heat.parameters import PrepareEntry, PrepareParameters
from imageprep_client.oci.reference import Reference

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
SET = {"namespace": "r.io/ns", "name_prefix": "", "tag": "t"}
AODH = "r.io/ns/aodh-api:t"


def entry(**fields):
    """An entry that has three images and says where it is written."""
    return PrepareEntry(
        **{
            "path": "env.yaml",
            "key": "parameter_defaults.ContainerImagePrepare[0]",
            "values": SET,
            "includes": ("aodh-api", "aodh-listener", "/haproxy:t"),
            **fields,
        }
    )


@pytest.mark.parametrize("key", ["includes", "excludes"])
def test_expressions_that_never_end(monkeypatch, key):
    """An expression that backtracks for ever is an error with its key."""
    monkeypatch.setattr(filters, "_MATCHING", 0.2)
    fields = {"includes": (), key: ("([a-z./]+)+!",)}
    with pytest.raises(errors.InvalidFile, match="not matched") as caught:
        select(entry(**fields))
    assert caught.value.key.endswith(f"[0].{key}")


def never():
    pytest.fail("the undercloud's registry was asked for")


def parameters(*entries, **fields):
    return PrepareParameters(
        **{
            "entries": entries or None,
            "credentials": {},
            "insecure_registries": (),
            "docker_hub_mirror": None,
            "additional_architectures": (),
            "local_registry": None,
            "neutron_mechanism_drivers": None,
            **fields,
        }
    )


def select(*entries, release="zed", services=None, **fields):
    return worklist.select(
        parameters(*entries, **fields), catalog.load(release), services
    )


def build(*entries, pins=None, registry=None, services=None, **fields):
    """The worklist of these entries; without `registry` none is asked for."""
    wanted = parameters(*entries, **fields)
    return worklist.build(
        worklist.select(wanted, catalog.load("zed"), services),
        pins=pins or {},
        parameters=wanted,
        undercloud_registry=registry or never,
        now=NOW,
    )


def one(*entries, **fields):
    """The work item of aodh-api."""
    (item,) = [
        item
        for item in build(*entries, **fields).images
        if "aodh-api" in item.image
    ]
    return item


class TestSelect:
    """Which images an entry asks for."""

    def test_one_per_entry(self):
        """Each entry has a selection of its own, in order."""
        first, second = entry(), entry(includes=("aodh-api",))
        found = select(first, second)
        assert [s.entry for s in found] == [first, second]
        assert [len(s.images) for s in found] == [3, 1]
        assert found[1].images[0].image == AODH

    def test_services(self):
        """Images that no enabled service needs are left out."""
        (found,) = select(
            entry(), services={"OS::TripleO::Services::AodhListener"}
        )
        assert [i.image for i in found.images] == [
            AODH,
            "r.io/ns/aodh-listener:t",
        ]

    @pytest.mark.parametrize(
        ("release", "image"),
        [
            ("zed", "quay.io/tripleomastercentos9/openstack-aodh-api"),
            ("master", "docker.io/tripleomaster/centos-binary-aodh-api"),
        ],
    )
    def test_default(self, release, image):
        """No entries are those of the release."""
        (found,) = select(release=release)
        assert found.images[0].image == f"{image}:current-tripleo"

    def test_no_default(self):
        """A release without entries of its own needs the user's."""
        with pytest.raises(errors.InvalidArgument, match="queens"):
            select(release="queens")

    @pytest.mark.parametrize(
        ("driver", "drivers", "ovn"),
        [
            ("ovn", ("openvswitch",), True),
            ("other", None, False),
            (None, None, True),
            ("", None, True),
            (None, ("x", "ovn"), True),
            (None, ("openvswitch",), False),
            (None, (), False),
        ],
    )
    def test_driver(self, driver, drivers, ovn):
        """Without a driver in set the mechanism drivers decide."""
        (found,) = select(
            entry(
                values={**SET, "neutron_driver": driver},
                includes=("ovn-controller",),
            ),
            neutron_mechanism_drivers=drivers,
        )
        assert bool(found.images) is ovn

    @pytest.mark.parametrize(
        ("values", "label", "default_tag"),
        [(SET, None, False), ({"namespace": "r.io/ns"}, "version", True)],
    )
    def test_label(self, values, label, default_tag):
        """A tag in set leaves nothing to discover."""
        (found,) = select(entry(values=values, tag_from_label="version"))
        assert (found.label, found.default_tag) == (label, default_tag)

    def test_bad_name(self):
        """A name that is none names the entry and the values it is of."""
        with pytest.raises(errors.InvalidFile) as caught:
            select(entry(values={**SET, "namespace": "R.io/NS"}))
        error = caught.value
        assert error.path == "env.yaml"
        assert error.key == "parameter_defaults.ContainerImagePrepare[0].set"
        assert "makes 'R.io/NS/aodh-api:t', which is no image" in str(error)
        assert error.hint is not None
        assert "namespace is 'R.io/NS'" in error.hint

    def test_bad_name_for_want_of_a_value(self):
        """A value that nobody has given is named as such."""
        with pytest.raises(errors.InvalidFile) as caught:
            select(entry(includes=("^/:$",)), release="queens")
        assert caught.value.hint is not None
        assert "ceph_namespace is not given" in caught.value.hint

    def test_bad_name_that_is_not_selected(self):
        """A name that nobody asks for may be no image."""
        (found,) = select(entry(), release="queens")
        assert len(found.images) == 3

    def test_bad_name_in_template(self, tmp_path):
        """A template's own name has no values to look at."""
        path = tmp_path / "t.j2"
        path.write_text("container_images_template: [{imagename: ':'}]")
        own = catalog.load("zed").with_template(str(path))
        with pytest.raises(errors.InvalidFile) as caught:
            worklist.select(parameters(entry(includes=())), own, None)
        assert caught.value.hint is None


class TestDiscovery:
    """The images whose tags or labels are discovered first."""

    def test_nothing(self):
        """With a tag, and without labels, no registry is asked."""
        assert worklist.to_discover(select(entry())) == ()

    def test_tags(self):
        """Each image's tag is discovered once, where it is pulled from."""
        wanted = entry(
            values={"namespace": "r.io/ns", "name_prefix": ""},
            includes=("aodh-api",),
            tag_from_label="version",
            pull_source="mirror.example.com",
        )
        image = "r.io/ns/aodh-api:current-tripleo"
        assert worklist.to_discover(select(wanted, wanted)) == (
            Query(
                key=(image, "version"),
                reference=Reference(
                    "mirror.example.com", "ns/aodh-api", "current-tripleo"
                ),
                read_from=Reference(
                    "mirror.example.com", "ns/aodh-api", "current-tripleo"
                ),
                label="version",
                default_tag=True,
            ),
        )

    def test_labels_of_two_entries(self):
        """Two entries may take the tag of an image from two labels."""
        found = worklist.to_discover(
            select(
                *(
                    entry(
                        values={"namespace": "r.io/ns"},
                        includes=("aodh-api",),
                        tag_from_label=label,
                    )
                    for label in ("a", "b")
                )
            )
        )
        assert [query.label for query in found] == ["a", "b"]

    def test_labels_only(self):
        """Labels that limit a modification have to be known, too."""
        wanted = entry(
            includes=("aodh-api",),
            modify_role="r",
            modify_only_with_labels=("x",),
        )
        (found,) = worklist.to_discover(select(wanted))
        assert (found.key, found.label) == ((AODH, None), None)
        assert found.labels == {"x"}
        assert found.default_tag

    def test_labels_without_role(self):
        """Without a role they do not matter."""
        wanted = entry(modify_only_with_labels=("x",))
        assert worklist.to_discover(select(wanted)) == ()

    def test_pin(self):
        """A discovered tag is in the name and in the parameters."""
        wanted = entry(
            values={"namespace": "r.io/ns", "name_prefix": ""},
            tag_from_label="version",
            push_destination="p.io",
        )
        pins = {
            ("r.io/ns/aodh-api:current-tripleo", "version"): Pin("v1"),
            ("r.io/ns/aodh-listener:current-tripleo", "other"): Pin("v2"),
        }
        work = build(wanted, pins=pins)
        assert work.images[0].image == "r.io/ns/aodh-api:v1"
        assert work.images[0].source == Reference("r.io", "ns/aodh-api", "v1")
        assert work.parameters["ContainerAodhApiImage"] == (
            "p.io/ns/aodh-api:v1"
        )
        assert work.images[1].target == "p.io/ns/aodh-listener:current-tripleo"


class TestDestination:
    """Where images go."""

    def test_nowhere(self):
        """Without push_destination the parameter is the image."""
        item = one(entry())
        assert item.target == item.image == AODH
        assert item.push_destination is None
        assert (item.repository, item.tag) == ("ns/aodh-api", "t")

    @pytest.mark.parametrize(
        ("push_destination", "registry", "repository"),
        [
            ("p.io:5000", "p.io:5000", "ns/aodh-api"),
            ("p.io/", "p.io", "ns/aodh-api"),
            ("p.io/a/b", "p.io", "a/b/ns/aodh-api"),
            ("docker://p.io/a", "p.io", "a/ns/aodh-api"),
            ("oci:/srv/x", "oci:/srv/x", "ns/aodh-api"),
            ("oci:/srv/x//a", "oci:/srv/x", "a/ns/aodh-api"),
            ("memory:m", "memory:m", "ns/aodh-api"),
        ],
    )
    def test_place(self, push_destination, registry, repository):
        """Registry, repository and tag together are the parameter."""
        item = one(entry(push_destination=push_destination))
        assert item.push_destination == registry
        assert item.repository == repository
        joint = "/" if registry.startswith("p.io") else "//"
        assert item.target == f"{registry}{joint}{repository}:t"
        assert item.source == Reference.parse(AODH)

    @pytest.mark.parametrize(
        "place", ["oci:/srv/x", "image-serve:/srv//x", "oci:x"]
    )
    def test_namespace_in_a_directory(self, place):
        """Images of a directory are copied with their path in it."""
        values = {**SET, "namespace": f"{place}//ns"}
        item = one(entry(values=values, push_destination="p.io"))
        assert item.target == "p.io/ns/aodh-api:t"
        assert item.source == Reference(place, "ns/aodh-api", "t")

    @pytest.mark.parametrize("source", ["oci:/srv/x", "oci:/srv/x//a/"])
    def test_pull_source_in_a_directory(self, source):
        """A directory takes the place of the registry."""
        item = one(entry(pull_source=source, push_destination="p.io"))
        below = "a/" if source.endswith("/") else ""
        assert item.source == Reference(
            "oci:/srv/x", f"{below}ns/aodh-api", "t"
        )

    def test_namespace_without_registry(self):
        """The first part of a name is replaced, whatever it is."""
        item = one(
            entry(
                values={**SET, "namespace": "local"}, push_destination="p.io"
            )
        )
        assert item.target == "p.io/aodh-api:t"
        assert item.source == Reference("docker.io", "local/aodh-api", "t")

    def test_undercloud(self):
        """The undercloud's registry is looked up once."""
        asked = []

        def registry():
            asked.append(1)
            return "uc.ctlplane:8787"

        wanted = entry(push_destination=True)
        assert one(wanted, wanted, registry=registry).target == (
            "uc.ctlplane:8787/ns/aodh-api:t"
        )
        assert asked == [1]

    def test_local_registry(self):
        """The parameter that names it goes first."""
        item = one(entry(push_destination=True), local_registry="fd00::1")
        assert item.target == "[fd00::1]:8787/ns/aodh-api:t"

    def test_no_images(self):
        """Without images nobody is asked for a registry."""
        work = build(entry(push_destination=True, includes=("nothing",)))
        assert (work.images, work.parameters) == ((), {})

    @pytest.mark.parametrize("text", ["p.io/NS", "http://p.io", "p.io:x"])
    def test_bad(self, text):
        """A value that is no destination names the key."""
        with pytest.raises(errors.InvalidFile) as caught:
            build(entry(push_destination=text))
        assert caught.value.key.endswith("[0].push_destination")

    def test_too_long(self):
        """A path that is too long at the destination names the entry."""
        wanted = entry(push_destination="p.io/" + "x" * 250)
        with pytest.raises(errors.InvalidFile, match="cannot be stored"):
            build(wanted)


class TestSource:
    """Where images are pulled from."""

    @pytest.mark.parametrize(
        ("namespace", "pull_source", "source"),
        [
            ("r.io/ns", "", "r.io/ns/aodh-api:t"),
            ("ns", "m.io", "m.io/ns/aodh-api:t"),
            ("r.io/ns", "m.io:5000/", "m.io:5000/ns/aodh-api:t"),
            ("ns", "docker://m.io/a", "m.io/a/ns/aodh-api:t"),
        ],
    )
    def test_pull_source(self, namespace, pull_source, source):
        """It takes the registry's place; the parameter stays."""
        wanted = entry(
            values={**SET, "namespace": namespace}, pull_source=pull_source
        )
        item = one(wanted)
        assert str(item.source) == source
        assert item.target == f"{namespace}/aodh-api:t"

    def test_bad(self):
        """A value that is no registry names the key."""
        with pytest.raises(errors.InvalidFile) as caught:
            build(entry(pull_source="M.io/X"))
        assert caught.value.key.endswith("[0].pull_source")


class TestNames:
    """Names that only a template of the user's own makes."""

    @pytest.fixture
    def item(self, tmp_path):
        def make(name, **fields):
            path = tmp_path / "t.j2"
            path.write_text(
                "container_images_template:"
                f" [{{imagename: '{name}', params: [P]}}]"
            )
            wanted = parameters(
                entry(includes=(), push_destination="p.io", **fields)
            )
            own = catalog.load("zed").with_template(str(path))
            (found,) = worklist.build(
                worklist.select(wanted, own, None),
                pins={},
                parameters=wanted,
                undercloud_registry=never,
                now=NOW,
            ).images
            return found

        return make

    def test_without_tag(self, item):
        """A name without a tag has the one that registries take it for."""
        assert item("r.io:5000/a/b").target == "p.io/a/b:latest"

    def test_without_slash(self, item):
        """A name of one part keeps it."""
        found = item("ubuntu:22")
        assert found.target == "p.io/ubuntu:22"
        assert str(found.source) == "docker.io/library/ubuntu:22"

    def test_digest(self, item):
        """A digest stays, unless the image is modified."""
        digest = "sha256:" + "0" * 64
        name = f"r.io/a:1@{digest}"
        assert item(name).target == f"p.io/a:1@{digest}"
        changed = item(name, modify_role="r", modify_append_tag="-x")
        assert changed.target == "p.io/a:1-x"
        assert str(changed.source) == name


class TestModification:
    """Which images are changed, and how the result is named."""

    def test_default(self):
        """The time makes the tag unique."""
        item = one(entry(modify_role="r", modify_vars={"a": 1}))
        assert item.modification == Modification(
            "r", "-modified-20260102030405", {"a": 1}
        )
        assert item.target == f"{AODH}-modified-20260102030405"
        assert item.tag == "t-modified-20260102030405"
        assert item.image == AODH

    @pytest.mark.parametrize("append_tag", ["/x", "x" * 128])
    def test_bad_append_tag(self, append_tag):
        """A tag that is none afterwards names the entry."""
        wanted = entry(modify_role="r", modify_append_tag=append_tag)
        with pytest.raises(errors.InvalidFile, match="invalid tag"):
            build(wanted)

    @pytest.mark.parametrize(
        ("labels", "sources", "modified"),
        [
            (("version",), (), True),
            (("x", "version"), (), True),
            (("x",), (), False),
            ((), ("kolla", "tripleo"), True),
            ((), ("kolla",), False),
            (("x",), ("tripleo",), True),
            (("version",), ("kolla",), True),
        ],
    )
    def test_limits(self, labels, sources, modified):
        """Any label that is there, or any source, is enough."""
        item = one(
            entry(
                modify_role="r",
                modify_only_with_labels=labels,
                modify_only_with_source=sources,
            ),
            pins={(AODH, None): Pin(None, frozenset(["version", "name"]))},
        )
        assert bool(item.modification) is modified

    @pytest.mark.parametrize(
        ("fields", "architectures"),
        [({"multi_arch": True}, ()), ({}, ("arm64",))],
    )
    def test_multi_arch(self, fields, architectures):
        """It is refused together with every platform."""
        with pytest.raises(errors.InvalidFile) as caught:
            build(
                entry(modify_role="r", **fields),
                additional_architectures=architectures,
            )
        assert caught.value.key.endswith("[0].modify_role")
        assert caught.value.hint is not None

    def test_multi_arch_of_others(self):
        """Images that are not modified may have every platform."""
        item = one(
            entry(
                modify_role="r",
                modify_only_with_source=("x",),
                multi_arch=True,
            )
        )
        assert item.multi_arch


@pytest.mark.parametrize(
    ("multi_arch", "architectures", "result"),
    [
        (None, (), False),
        (None, ("arm64",), True),
        (False, ("arm64",), False),
        (True, (), True),
    ],
)
def test_multi_arch(multi_arch, architectures, result):
    """The entry says, else whether there are other architectures."""
    item = one(
        entry(multi_arch=multi_arch), additional_architectures=architectures
    )
    assert item.multi_arch is result


class TestLayers:
    """Several entries over each other."""

    def test_overwritten(self):
        """An image that no parameter names any more is still one."""
        fix = entry(values={**SET, "tag": "fix"}, includes=("aodh-api",))
        work = build(entry(), fix)
        assert [
            i.parameters for i in work.images if "aodh-api" in i.image
        ] == [(), ("ContainerAodhApiImage", "ContainerAodhConfigImage")]

    def test_same_image(self):
        """An image that two entries want is handled once."""
        assert len(build(entry(), entry()).images) == 3

    def test_back_again(self):
        """An image keeps the parameters that come back to it."""
        first = entry(includes=("aodh-api",))
        second = entry(includes=("aodh-api",), values={**SET, "tag": "other"})
        work = build(first, second, first)
        assert [i.parameters for i in work.images] == [
            ("ContainerAodhApiImage", "ContainerAodhConfigImage"),
            (),
        ]

    def test_same_target(self):
        """Of two sources for one target the later one counts."""
        other = entry(
            values={**SET, "namespace": "q.io/ns"}, push_destination="p.io"
        )
        work = build(entry(push_destination="p.io"), other)
        assert {i.source.registry for i in work.images} == {"q.io"}
        assert len(work.images) == 3

    @pytest.mark.parametrize(
        "changes",
        [
            {"values": {**SET, "namespace": "q.io/ns"}},
            {"modify_role": "role", "modify_append_tag": ""},
            {"multi_arch": True},
        ],
    )
    def test_image_that_is_still_needed(self, changes):
        """No image is replaced by another one where a parameter names it."""
        common = entry(push_destination="p.io")
        own = entry(push_destination="p.io", **changes)
        wanted = parameters(common, role_entries={"Compute": (own,)})
        table = catalog.load("zed")
        selections = [
            selection
            for role in (None, "Compute")
            for selection in worklist.select(wanted, table, None, role)
        ]

        def built(*chosen):
            return worklist.build(
                chosen,
                pins={},
                parameters=wanted,
                undercloud_registry=never,
                now=NOW,
            )

        with pytest.raises(errors.InvalidFile, match="would replace"):
            built(*selections)
        assert built(selections[0], selections[0])
