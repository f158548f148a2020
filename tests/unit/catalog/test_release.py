"""The releases: their tables are whole, their values are as documented."""

import pytest

from imageprep_client import catalog, errors
from imageprep_client.catalog import filters

PREFIX = "OS::TripleO::Services::"
VALUES = {
    "namespace": "registry.example.com/ns",
    "name_prefix": "p",
    "name_suffix": "",
    "tag": "t",
}


def entries(release, **values):
    return catalog.load(release).render({**VALUES, **values})


def named(release, name, **values):
    """The entries whose name without prefix and tag is `name`."""
    wanted = f"{VALUES['namespace']}/p-{name}:t"
    return [e for e in entries(release, **values) if e.image == wanted]


def test_releases():
    """There are eight releases, oldest first, and master."""
    assert catalog.releases() == (
        "queens",
        "rocky",
        "stein",
        "train",
        "ussuri",
        "victoria",
        "wallaby",
        "zed",
        "master",
    )


def test_default_release_is_a_release():
    """The release that is used when none is named exists."""
    assert catalog.DEFAULT_RELEASE == "master"
    assert catalog.DEFAULT_RELEASE in catalog.releases()


@pytest.mark.parametrize("release", ["yoga", "", "../data/zed", "18"])
def test_unknown_release(release):
    """Another name is an error whose hint lists the releases."""
    with pytest.raises(errors.InvalidArgument, match="no such release") as e:
        catalog.load(release)
    assert e.value.hint is not None
    assert "queens, rocky" in e.value.hint


@pytest.mark.parametrize(
    ("release", "meant"),
    [("Zed", "zed"), ("16.2", "train"), ("17.1", "wallaby"), ("13", "queens")],
)
def test_releases_by_other_names(release, meant):
    """A version of the product, or a capital, leads to the release."""
    with pytest.raises(errors.InvalidArgument, match="no such release") as e:
        catalog.load(release)
    assert e.value.hint == f"did you mean {meant}?"


# What exists with every condition met that does not exclude another one, and
# what does not exist then.
EVERYTHING = {
    "ceph_images": True,
    "rhel_containers": False,
    "logging": "stdout",
    "namespace_stein": "registry.example.com/stein",
    "ceph3_namespace": "registry.example.com/ceph3",
}


@pytest.mark.parametrize(
    ("release", "ovn", "odl", "other"),
    [
        ("queens", 95, 90, 89),
        ("rocky", 133, 128, 127),
        ("stein", 131, 127, 126),
        ("train", 115, 111, 110),
        ("ussuri", 95, 90, 90),
        ("victoria", 95, 90, 90),
        ("wallaby", 91, 86, 86),
        ("zed", 95, 90, 90),
        ("master", 95, 90, 90),
    ],
)
def test_number_of_images(release, ovn, odl, other):
    """Each release has as many images as it was released with."""
    numbers = [
        sum(
            not one.later
            for one in entries(release, neutron_driver=driver, **EVERYTHING)
        )
        for driver in ("ovn", "odl", "other")
    ]
    assert numbers == [ovn, odl, other]


# What no release, or not each of them, has a value for.
WANTING = (
    "name_prefix_stein",
    "name_suffix_stein",
    "tag_stein",
    "ceph3_image",
    "ceph3_tag",
    "ceph_namespace",
    "ceph_image",
    "ceph_tag",
)


@pytest.mark.parametrize(
    ("release", "parameters"),
    [
        ("queens", 148),
        ("rocky", 188),
        ("stein", 191),
        ("train", 179),
        ("ussuri", 150),
        ("victoria", 150),
        ("wallaby", 146),
        ("zed", 148),
        ("master", 148),
    ],
)
def test_number_of_parameters(release, parameters):
    """Each release has as many image parameters as it was released with."""
    found = catalog.load(release).default_parameters(
        {**VALUES, **EVERYTHING, **dict.fromkeys(WANTING, "x")}
    )
    assert len(found) == parameters


def test_entry_of_zed():
    """An entry has name, source, parameters and services of its release."""
    (found,) = named("zed", "aodh-api")
    assert found == catalog.TableImage(
        image="registry.example.com/ns/p-aodh-api:t",
        source="tripleo",
        parameters=("ContainerAodhApiImage", "ContainerAodhConfigImage"),
        services=frozenset(
            PREFIX + name
            for name in (
                "AodhApi",
                "AodhEvaluator",
                "AodhListener",
                "AodhNotifier",
            )
        ),
        variables=("namespace", "name_prefix", "name_suffix", "tag"),
    )


def test_parameters_of_older_releases():
    """Up to Stein the parameters are those of docker."""
    (found,) = named("stein", "heat-engine")
    assert found.parameters == ("DockerHeatEngineImage",)


def test_entry_of_another_source():
    """An image of a project beside OpenStack has a name of its own."""
    (found,) = [e for e in entries("zed") if e.source == "haproxy"]
    assert found.image == "quay.io/ceph/haproxy:2.3"
    assert found.parameters == ("HaproxyContainerImage",)
    assert found.services == {PREFIX + "CephIngress"}


def test_service_of_another_name():
    """A service may be spelled otherwise than all others."""
    (found,) = [
        e for e in entries("zed") if e.image.endswith("pushgateway:v1.4.2")
    ]
    assert found.services == {"OS::Tripleo::Services::CeilometerPushgateway"}


def test_nested_service():
    """A service may have colons in its name."""
    found = [e for e in entries("rocky") if e.source == "openshift"]
    assert len(found) == 29
    assert all(
        s.startswith("OS::TripleO::Services::OpenShift::")
        for e in found
        for s in e.services
    )


def test_image_without_parameters():
    """An image may fill no parameter."""
    (found,) = named("ussuri", "heat-all")
    assert found.parameters == ()


@pytest.mark.parametrize(
    ("name", "parameter", "service"),
    [
        ("glance-api", "GlanceApiInternalConfig", "GlanceApiInternal"),
        ("designate-api", "DesignateApiConfig", "DesignateApi"),
        ("nova-libvirt", "NovaLibvirt", "NovaLibvirtLegacy"),
    ],
)
def test_later_versions_of_wallaby(name, parameter, service):
    """A service of product version 17.1 gets its parameters."""
    entries = catalog.load("wallaby").render({})
    assert not any(one.later for one in filters.select(entries, None))
    found = filters.select(entries, {PREFIX + service}, [f"-{name}:"])
    assert any(f"Container{parameter}Image" in one.parameters for one in found)
    for release in ("ussuri", "zed"):
        assert not any(one.later for one in catalog.load(release).render({}))


def test_image_without_services():
    """An image may be needed by no service."""
    (found,) = [
        e for e in entries("zed") if e.image.endswith("/tripleo-ansible-ee:t")
    ]
    assert found.services == frozenset()
    assert found.parameters == ("ContainerAEEImage",)


def test_order_of_a_table():
    """Entries come in the table's order: a later one may overwrite."""
    names = [e.image for e in entries("queens", neutron_driver="ovn")]
    assert names[0] == "registry.example.com/ns/p-aodh-api:t"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("release", catalog.releases())
def test_every_image_has_a_whole_name(release):
    """With values for all, no part of a name is left or missing."""
    for found in entries(release, ceph_namespace="c", ceph_image="i"):
        assert not set("{}*") & set(found.image)
        assert all(found.image.rpartition(":")[0].split("/"))


class TestValues:
    """The values of `set` go over those of the release."""

    @pytest.mark.parametrize(
        ("prefix", "suffix", "name"),
        [
            ("os", "el9", "os-aodh-api-el9"),
            ("os-", "-el9", "os-aodh-api-el9"),
            ("", "", "aodh-api"),
            (None, None, "Noneaodh-apiNone"),
            (7, 9, "7-aodh-api-9"),
        ],
    )
    def test_hyphens(self, prefix, suffix, name):
        """A prefix or suffix gets the hyphen that it lacks."""
        found = catalog.load("zed").render(
            {**VALUES, "name_prefix": prefix, "name_suffix": suffix}
        )
        assert found[0].image == f"registry.example.com/ns/{name}:t"

    @pytest.mark.parametrize(
        ("value", "text"),
        [(17.1, "17.1"), (None, "None"), (True, "True"), ("*{x}", "*{x}")],
    )
    def test_as_jinja_writes(self, value, text):
        """A value is written as it is, and not looked into."""
        found = catalog.load("zed").render({**VALUES, "tag": value})
        assert found[0].image == f"registry.example.com/ns/p-aodh-api:{text}"

    def test_missing_variable(self):
        """A variable that nobody gives is empty."""
        found = catalog.load("train").render({"namespace_stein": "r.io/s"})
        assert "r.io/s/cinder-api:" in [e.image for e in found]


class TestConditions:
    """Entries that exist only with certain values."""

    def test_driver_other_than_ovn(self):
        """Without ovn, neutron-server is not for the services of ovn."""
        (found,) = named("zed", "neutron-server", neutron_driver="other")
        assert PREFIX + "OVNController" not in found.services

    @pytest.mark.parametrize("release", ["queens", "rocky", "stein", "train"])
    @pytest.mark.parametrize("driver", ["other", "openvswitch", None])
    def test_drivers_of_older_releases(self, release, driver):
        """Up to Train neutron-server is for all but OVN and OpenDaylight."""
        (found,) = named(release, "neutron-server", neutron_driver=driver)
        assert found.parameters[0].endswith("NeutronApiImage")
        for special in ("odl", "ovn"):
            assert not named(release, "neutron-server", neutron_driver=special)

    @pytest.mark.parametrize(
        ("drivers", "old", "new"),
        [
            (None, "ovn", "ovn"),
            (("openvswitch",), "other", "other"),
            (("ovn", "sriovnicswitch"), "ovn", "ovn"),
            (("opendaylight_v2",), "odl", "other"),
        ],
    )
    def test_driver_of_a_deployment(self, drivers, old, new):
        """OVN is the default, and OpenDaylight ends with Train."""
        for release in catalog.releases():
            is_old = release in ("queens", "rocky", "stein", "train")
            assert catalog.load(release).neutron_driver(drivers) == (
                old if is_old else new
            )

    @pytest.mark.parametrize(("value", "number"), [(True, 0), (False, 2)])
    def test_rhel_containers(self, value, number):
        """Two images of Train are not built for RHEL."""
        without = entries("train", rhel_containers=True)
        found = entries("train", rhel_containers=value)
        assert len(found) - len(without) == number

    @pytest.mark.parametrize(
        ("variable", "number"),
        [("namespace_stein", 11), ("ceph3_namespace", 1)],
    )
    def test_optional_namespaces(self, variable, number):
        """Images of an older release exist when their namespace is set."""
        plain = len(entries("train"))
        assert len(entries("train", **{variable: "r.io/x"})) == plain + number
        assert len(entries("train", **{variable: ""})) == plain

    @pytest.mark.parametrize("release", catalog.releases())
    def test_ceph_images(self, release):
        """A deployment without Ceph can leave its images out."""

        def of_ceph(**more):
            return [
                image.image
                for image in entries(release, **more)
                if any(name.startswith("ceph_") for name in image.variables)
            ]

        assert of_ceph()
        assert of_ceph(ceph_images=True) == of_ceph()
        assert of_ceph(ceph_images=False) == []

    def test_logging(self):
        """Queens has one image more for logging to stdout."""
        more = len(entries("queens", logging="stdout"))
        assert more == len(entries("queens", logging="file")) + 1
        assert more == len(entries("queens")) + 1


class TestDefaults:
    """The values of a release without those of a user."""

    def test_master_values(self):
        """Its other values are zed's."""
        values = catalog.load("master").values
        assert values["namespace"] == "docker.io/tripleomaster"
        assert values["ceph_grafana_image"] == "ceph-grafana"
        assert values["pushgateway_tag"] == "v1.4.2"

    @pytest.mark.parametrize(
        ("release", "namespace"),
        [
            ("rocky", "docker.io/tripleorocky"),
            ("stein", "docker.io/tripleostein"),
            ("train", "quay.io/tripleotrain"),
            ("ussuri", "quay.io/tripleoussuri"),
            ("victoria", "quay.io/tripleovictoria"),
            ("wallaby", "quay.io/tripleowallaby"),
            ("zed", "quay.io/tripleomastercentos9"),
        ],
    )
    def test_prepare(self, release, namespace):
        """The default of a release has all of its values; where a tag wins
        over the label, all but that.
        """
        found = catalog.load(release)
        (entry,) = found.default_prepare
        assert entry["set"]["namespace"] == namespace
        values = dict(found.values)
        assert found.tag_wins == (release in ("victoria", "wallaby", "zed"))
        if found.tag_wins:
            del values["tag"]
        assert entry["set"] == values
        assert entry["tag_from_label"] == "rdo_version"

    def test_prepare_is_a_copy(self):
        """Changing what was got changes nothing for the next one."""
        catalog.load("master").default_prepare[0]["set"]["tag"] = "changed"
        (entry,) = catalog.load("master").default_prepare
        assert entry["set"]["tag"] == "current-tripleo"

    def test_queens_has_no_prepare(self):
        """Asking for a default that is not there names what to give."""
        with pytest.raises(errors.InvalidArgument, match="queens") as e:
            _ = catalog.load("queens").default_prepare
        assert e.value.hint is not None
        assert "namespace, tag" in e.value.hint

    @pytest.mark.parametrize("values", [{}, {"tag": "x"}])
    def test_queens_needs_values(self, values):
        """Rendering without values names the missing keys of set."""
        with pytest.raises(errors.InvalidArgument, match=r"set has no .*name"):
            catalog.load("queens").render(values)

    def test_queens_with_values(self):
        """Values that not all images need may be missing."""
        found = catalog.load("queens").render(VALUES)
        assert found[0].image == "registry.example.com/ns/p-aodh-api:t"


class TestDefaultParameters:
    """A value for every image parameter of the table."""

    def test_values(self):
        """They are the images with the release's values."""
        found = catalog.load("zed").default_parameters()
        assert found["ContainerNovaApiImage"] == (
            "quay.io/tripleomastercentos9/openstack-nova-api:current-tripleo"
        )

    def test_without_driver(self):
        """A release without a driver gets the images of ovn."""
        found = catalog.load("master").default_parameters()
        assert "ContainerOvnNorthdImage" in found

    def test_parameters_of_absent_images(self):
        """A parameter whose image does not exist has a value all the same."""
        found = catalog.load("zed").default_parameters(
            {"neutron_driver": "other", "ceph_images": False}
        )
        assert "ContainerOvnNorthdImage" in found
        assert found["ContainerCephDaemonImage"].endswith(":current-ceph")

    def test_absent_images_do_not_overwrite(self):
        """An image that does not exist takes no other's parameter."""
        found = catalog.load("train").default_parameters()
        assert "odl" not in found["ContainerNeutronApiImage"]

    def test_nothing_to_say(self):
        """A parameter whose image has no name is left out."""
        found = catalog.load("train").default_parameters()
        assert "ContainerCinderApiImageStein" not in found
        assert all(found.values())

    def test_release_without_values(self):
        """Where there are no values nothing can be said, and no error is."""
        assert catalog.load("queens").default_parameters() == {}

    def test_missing_values(self):
        """Images that have all their values are told from those without."""
        found = catalog.load("queens").default_parameters(VALUES)
        assert "DockerAodhApiImage" in found
        assert "DockerCephDaemonImage" not in found


# --- variables of set


@pytest.mark.parametrize("release", catalog.releases())
def test_own_values_are_known(release):
    """Every variable of a release's default is known."""
    loaded = catalog.load(release)
    assert [name for name in loaded.values if not loaded.knows(name)] == []


@pytest.mark.parametrize("release", catalog.releases())
@pytest.mark.parametrize(
    "name",
    [
        *("ceph_images", "default_tag", "logging", "neutron_driver"),
        "rhel_containers",
    ],
)
def test_switches_are_known(release, name):
    """A condition of another release makes no difference and is known."""
    assert catalog.load(release).knows(name)


@pytest.mark.parametrize("release", catalog.releases())
@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("namspace", "namespace"),
        ("nameprefix", "name_prefix"),
        ("tags", "tag"),
    ],
)
def test_near_variable(release, name, near):
    """The advice for a misspelt variable is the variable."""
    loaded = catalog.load(release)
    assert not loaded.knows(name)
    assert loaded.advice(name) == f"did you mean {near}?"


def test_variable_of_another_release():
    """The advice names the releases that have the variable."""
    assert catalog.load("queens").advice("namespace_stein") == (
        "it is a variable of train, not of queens: leave it out, or choose"
        " another --release"
    )


@pytest.mark.parametrize(
    ("namespace", "tag", "release"),
    [
        ("docker.io/tripleotraincentos8", "current-tripleo", "train"),
        ("quay.io/tripleowallaby", None, "wallaby"),
        ("docker.io/tripleomaster", "current-tripleo", "master"),
        ("registry.redhat.io/rhosp-rhel8", "16.2.2", "train"),
        ("registry.redhat.io/rhosp-rhel9", 17.1, "wallaby"),
        ("registry.redhat.io/rhosp15-rhel8", "latest", "stein"),
        ("registry.access.redhat.com/rhosp13", None, "queens"),
        ("registry.redhat.io/rhosp-rhel8", "latest", None),
        ("registry.example.com:5000", "16.2", None),
        (None, None, None),
    ],
)
def test_probable_release(namespace, tag, release):
    """Public namespaces name their release, by its name or its product."""
    values = {"namespace": namespace, "tag": tag}
    assert catalog.probable(values) == release


def test_strange_variable():
    """The advice for what is like no variable lists them."""
    assert "neutron_driver, rhel_containers, tag" in catalog.load(
        "queens"
    ).advice("zzzzz")
