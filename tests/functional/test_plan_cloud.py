"""``image-prepare`` over plans in a real object store, behind keystone."""

from __future__ import annotations

import json
import re
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from imageprep_client.plans import base as plans
from imageprep_client.testing.faults import Fault
from tests import openstack_services, servers
from tests.fault_proxy import FaultProxy
from tests.functional import base, clouds, deployment
from tests.functional.clouds import CloudPlan
from tests.functional.deployment import Deployment
from tests.openstack_services import Services

LISTED = {"path": plans.PARAMETERS}
#: Seconds that an object store does not answer, where a command is stopped.
SILENCE = 300.0
#: What is told, at any time, of a run that takes long, as where all is slow.
PROGRESS = r"(\s*\w+: \d+/\d+ images[^\n]*)*\s*"
PLAIN = deployment.PLAIN + PROGRESS


@pytest.fixture
def plan(services: Services, site: Deployment) -> CloudPlan:
    """A plan in the cloud; ``openstack`` gets in by a password."""
    site.openstack.environment.update(services.environment())
    return CloudPlan(services, site)


def write_clouds(openstack: base.OpenStack, **cloud: object) -> None:
    """Write clouds.yaml, with the cloud ``tests``."""
    text = yaml.safe_dump({"clouds": {"tests": cloud}})
    (openstack.home / "clouds.yaml").write_text(text)


def in_file(services: Services, **more: object) -> dict[str, object]:
    """The entry of the cloud in clouds.yaml."""
    return {
        "auth": services.credentials,
        "region_name": openstack_services.REGION,
        **more,
    }


# --- ways to authenticate: each gives the words before the command


def by_variables(services: Services, openstack: base.OpenStack) -> list[str]:
    openstack.environment.update(services.environment())
    return []


def by_options(services: Services, openstack: base.OpenStack) -> list[str]:
    words = []
    for name, value in services.environment().items():
        option = name.lower().replace("_", "-")
        words += [f"--{option}", value]
    return words


def by_cloud(services: Services, openstack: base.OpenStack) -> list[str]:
    write_clouds(openstack, **in_file(services))
    return ["--os-cloud", "tests"]


def by_cloud_variable(
    services: Services, openstack: base.OpenStack
) -> list[str]:
    write_clouds(openstack, **in_file(services))
    openstack.environment["OS_CLOUD"] = "tests"
    return []


def by_token(services: Services, openstack: base.OpenStack) -> list[str]:
    openstack.environment.update(
        services.environment(
            username="",
            password="",
            user_domain_id="",
            auth_type="v3token",
            token=services.token,
        )
    )
    return []


def by_application_credential(
    services: Services, openstack: base.OpenStack
) -> list[str]:
    made = services.ask_keystone(
        "POST",
        f"users/{services.user}/application_credentials",
        application_credential={"name": secrets.token_hex(8)},
    )["application_credential"]
    write_clouds(
        openstack,
        auth_type="v3applicationcredential",
        auth={
            "auth_url": services.identity,
            "application_credential_id": made["id"],
            "application_credential_secret": made["secret"],
        },
        region_name=openstack_services.REGION,
    )
    return ["--os-cloud", "tests"]


def by_the_internal_endpoint(
    services: Services, openstack: base.OpenStack
) -> list[str]:
    openstack.environment.update(services.environment(region_name=""))
    return [
        *("--os-region-name", openstack_services.REGION),
        *("--os-interface", "internal"),
    ]


WAYS = [
    by_variables,
    by_options,
    by_cloud,
    by_cloud_variable,
    by_token,
    by_application_credential,
    by_the_internal_endpoint,
]
Way = Callable[[Services, base.OpenStack], list[str]]


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_authenticate(
    services: Services, site: Deployment, way: Way
) -> None:
    """A plan is opened by each way that ``openstack`` has."""
    plan = CloudPlan(services, site)
    words = way(services, site.openstack)
    show = ("image-prepare", "plan", "show", plan.name, "-f", "json")
    assert json.loads(site.openstack(*words, *show).stdout) == []


def test_installed_program(services: Services, site: Deployment) -> None:
    """It finds clouds.yaml where users have it."""
    plan = CloudPlan(services, site)
    write_clouds(site.openstack, **in_file(services))
    words = ("--os-cloud", "tests", *plan.words())
    site.openstack.installed(*words, stderr=PLAIN)

    assert plan.images() == clouds.wanted()


def test_authority_of_the_certificate(
    services: Services, plan: CloudPlan, site: Deployment, tmp_path: Path
) -> None:
    """With --os-cacert, keystone and swift are verified by that."""
    authority = servers.make_certificate(tmp_path)
    context = servers.tls_context(tmp_path)
    keystone = services.identity.split("/")[2]
    swift = services.object_store.split("/")[2]
    with (
        FaultProxy(keystone, tls=context) as keystone_tls,
        FaultProxy(swift, tls=context) as swift_tls,
    ):
        write_clouds(
            site.openstack,
            **in_file(
                services,
                object_store_endpoint_override=services.account.replace(
                    services.object_store, swift_tls.url
                ),
                object_store_connect_retry_delay=0.01,
            ),
        )
        words = ("--os-cloud", "tests", "--os-cacert", str(authority))
        url = ("--os-auth-url", f"{keystone_tls.url}/v3")
        site.openstack(*words, *url, *plan.words(), stderr=PLAIN)
        site.openstack(
            *words[:2],
            *url,
            *plan.words(),
            status=2,
            stderr=r"(Failed to discover[^\n]*\n)?cloud: keystone cannot be"
            r" verified: [^\n]*certificate[^\n]*\nhint: [^\n]*--os-cacert",
        )

        site.openstack.environment["OS_CLOUD"] = "tests"
        site.openstack(
            *plan.words(),
            status=2,
            stderr=rf"(Failure: [^\n]*\n)*plan {plan.name}: the object store"
            r" cannot be asked: [^\n]*certificate[^\n]*\n"
            r"hint: [^\n]*--os-cacert",
        )

    assert plan.images() == clouds.wanted()


@pytest.mark.parametrize(
    "environment",
    [{}, {"OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "nobody"}],
    ids=["unset", "wrong"],
)
def test_without_a_plan_no_cloud(
    site: Deployment, environment: dict[str, str]
) -> None:
    """The configuration of a cloud, right or wrong, does not matter."""
    site.openstack.environment.update(environment)
    site.run("--image-serve", "tree")
    site.openstack("image-prepare", "plan", "list", "--plan-dir", ".")


# --- what cannot be


def _wrong_password(plan: CloudPlan, openstack: base.OpenStack) -> None:
    openstack.environment["OS_PASSWORD"] = "wrong"


def _no_password(plan: CloudPlan, openstack: base.OpenStack) -> None:
    del openstack.environment["OS_PASSWORD"]


def _no_configuration(plan: CloudPlan, openstack: base.OpenStack) -> None:
    for name in [n for n in openstack.environment if n.startswith("OS_")]:
        del openstack.environment[name]


def _no_keystone(plan: CloudPlan, openstack: base.OpenStack) -> None:
    openstack.environment["OS_AUTH_URL"] = "http://127.0.0.1:1/v3"


def _no_object_store(plan: CloudPlan, openstack: base.OpenStack) -> None:
    openstack.environment["OS_INTERFACE"] = "admin"


def _no_plan(plan: CloudPlan, openstack: base.OpenStack) -> None:
    plan.name = "nothing"


def _no_metadata(plan: CloudPlan, openstack: base.OpenStack) -> None:
    headers = {"X_Container_Meta_Usage_Tripleo": "backup"}
    assert plan.services.ask_swift("POST", plan.name, None, **headers).ok


def _no_plan_environment(plan: CloudPlan, openstack: base.OpenStack) -> None:
    path = f"{plan.name}/{plans.PLAN_ENVIRONMENT}"
    assert plan.services.ask_swift("DELETE", path).ok


def _absent_environment(plan: CloudPlan, openstack: base.OpenStack) -> None:
    path = f"{plan.name}/images.yaml"
    assert plan.services.ask_swift("DELETE", path).ok


def _impossible_name(plan: CloudPlan, openstack: base.OpenStack) -> None:
    plan.name = "a/b"


WRONG: dict[Callable[[CloudPlan, base.OpenStack], None], str] = {
    _wrong_password: r"cloud: keystone refuses: [^\n]*HTTP 401[^\n]*"
    r"\nhint: look at the user, the password, [^\n]*",
    _no_password: r"cloud: no authentication: No password[^\n]*",
    _no_configuration: r"cloud: no authentication: [^\n]*auth-url[^\n]*",
    _no_keystone: r"Failed to discover[^\n]*\n"
    "cloud: keystone does not serve: connection refused",
    _no_object_store: r"cloud: no object store: [^\n]*object-store[^\n]*",
    _no_plan: "plan nothing: no such plan: there is no container[^\n]*",
    _no_metadata: r"plan \S+: is no deployment plan: [^\n]*metadata[^\n]*",
    _no_plan_environment: r"plan \S+: is no deployment plan: [^\n]*",
    _absent_environment: r"plan \S+: [^\n]*no such file in the plan:"
    r" images\.yaml",
    _impossible_name: "plan 'a/b': no plan can have this name",
}


@pytest.mark.parametrize("spoil", WRONG)
def test_one_clear_line(
    services: Services,
    plan: CloudPlan,
    site: Deployment,
    spoil: Callable[[CloudPlan, base.OpenStack], None],
) -> None:
    """Exit 2; nothing is written, and the registry is not asked."""
    name = plan.name
    spoil(plan, site.openstack)
    words = plan.words("--output-env-file", "out.yaml")
    plan.name = name
    before = plan.state()
    site.openstack(
        *words, status=2, stderr=rf"{WRONG[spoil]}(\nhint: [^\n]*)?"
    )

    assert plan.state() == before
    assert not site.registry.log
    assert not (site.home / "out.yaml").exists()
    assert not (site.home / "tree").exists()


def test_no_such_cloud(plan: CloudPlan, site: Deployment) -> None:
    """The shell itself stops, before there is a command."""
    before = plan.state()
    site.openstack(
        *("--os-cloud", "nowhere", *plan.words()),
        status=1,
        stderr="Cloud nowhere was not found.",
    )

    assert plan.state() == before


# --- reading and writing


def test_each_object_is_fetched_once(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """Environments and roles of the plan, before they are needed."""
    site.openstack(*plan.words("--dry-run"), stderr=PLAIN)

    for path in ("images.yaml", plans.ROLES):
        assert len(services.log(rf"^GET {plan.name}/{path}$")) == 1
    assert not services.log(rf"^(PUT|POST|DELETE) {plan.name}/\.")


def test_second_run(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """It changes nothing in the plan, and says so."""
    first = site.openstack(*plan.words(), stderr=PLAIN)
    before = plan.state()
    again = site.openstack(
        *plan.words(),
        stderr=rf"{PLAIN}plan {plan.name}: has these parameters already;"
        rf" nothing [^\n]*{PROGRESS}",
    )

    written = f"parameters written into plan {plan.name}"
    assert written in first.stderr
    assert written not in again.stderr
    assert plan.state() == before
    assert plan.listed().count(LISTED) == 1


def test_cached_parameters_are_deleted(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """The predecessor's cache of this plan is deleted, and of no other."""
    services.ask_swift("PUT", "__cache__")
    own = f"__cache_{plan.name}_tripleo.parameters.get"
    other = f"__cache_other-{plan.name}_tripleo.parameters.get"
    for name in (own, other):
        assert services.ask_swift("PUT", f"__cache__/{name}", b"x").ok
    site.openstack(*plan.words(), stderr=PLAIN)

    assert services.read("__cache__", own) is None
    assert services.read("__cache__", other) == "x"


@pytest.mark.parametrize("status", [403, 503])
def test_cached_parameters_that_stay(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment, status: int
) -> None:
    """The parameters are written; a cache that may be old is named."""
    place = f"__cache_{plan.name}_tripleo.parameters.get"
    services = plan.services
    assert services.ask_swift("PUT", f"{plan.name}/__cache__/{place}").ok
    path = rf"/AUTH_\w+/__cache__/{place}"
    faulty.fail("DELETE", path, status=status, times=None)
    retried = r"((Failure|Retriable)[^\n]*Retrying[^\n]*\s*)*"
    site.openstack(
        *plan.words("--output-env-file", "out.yaml"),
        stderr=rf"{PLAIN}{retried}container __cache__: {place}: [^\n]*"
        rf" \(DELETE {status}\); plan {plan.name} is written all the same,"
        rf" [^\n]*: delete it, [^\n]*{PROGRESS}",
    )

    assert services.read(plan.name, f"__cache__/{place}") is None
    assert plan.images() == clouds.wanted()
    assert plan.listed()[-1] == LISTED
    assert (site.home / "out.yaml").exists()


def test_metadata_is_kept(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """An object that is replaced keeps its type and metadata."""
    path = f"{plan.name}/{plans.PLAN_ENVIRONMENT}"
    text = services.read(plan.name, plans.PLAN_ENVIRONMENT) or ""
    services.ask_swift(
        *("PUT", path, text.encode()),
        Content_Type="text/x-mine",
        X_Object_Meta_Color="blue",
    )
    site.openstack(*plan.words(), stderr=PLAIN)

    headers = services.ask_swift("HEAD", path).headers
    assert plan.listed()[-1] == LISTED
    assert headers["Content-Type"].startswith("text/x-mine")
    assert headers["X-Object-Meta-Color"] == "blue"


def test_no_secret_leaves(plan: CloudPlan, site: Deployment) -> None:
    """Passwords of the plan and the cloud are in no output, log or file."""
    openstack = site.openstack
    del openstack.environment["OS_PASSWORD"]
    done = openstack.installed(
        *("--os-password", openstack_services.PASSWORD, "--debug", "-vvv"),
        *plan.words("--report", "report.json", "--log-file", "run.log"),
        *("--output-env-file", "out.yaml"),
        stderr=".*",
    )
    texts = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    for path in plan.services.objects(plan.name):
        # These are the user's own.
        if path not in (plans.PLAN_ENVIRONMENT, "images.yaml"):
            texts[path] = (plan.services.read(plan.name, path) or "").encode()
    for file in openstack.home.rglob("*"):
        if file.is_file():
            texts[str(file)] = file.read_bytes()
    assert plan.images() == clouds.wanted()
    assert f"PUT /{plan.name}/" in done.stderr
    assert {Path(name).name for name in texts} >= {"run.log", "report.json"}
    canaries = {
        *clouds.CANARIES.values(),
        clouds.REGISTRY_PASSWORD,
        openstack_services.PASSWORD,
    }
    leaks = {
        (name, canary)
        for name, text in texts.items()
        for canary in canaries
        if canary.encode() in text
    }
    assert not leaks


def test_plan_commands(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """Plans are listed, shown and restored by name."""
    other = f"{plan.name}-no-plan"
    services.make_plan(other, {plans.PLAN_ENVIRONMENT: "{}"}, usage="")
    openstack = site.openstack
    openstack(*plan.words(), stderr=PLAIN)
    site.environment(site.entry(set=site.values(tag="17.1.3")))
    openstack(*plan.words("-e", "env.yaml"), stderr=PLAIN)
    after = plan.parameters()["ContainerKeystoneImage"]

    text = openstack("image-prepare", "plan", "list", "-f", "json").stdout
    names = {row["Plan"]: row["Kind"] for row in json.loads(text)}
    assert names[plan.name] == "swift"
    assert other not in names
    shown = openstack(
        *("image-prepare", "plan", "show", plan.name, "-f", "json")
    ).stdout
    images = {row["Parameter"]: row["Image"] for row in json.loads(shown)}
    assert images["ContainerKeystoneImage"] == after
    openstack("image-prepare", "plan", "restore", plan.name, stderr=".*")
    assert after.endswith(":17.1.3")
    assert plan.images() == clouds.wanted()


# --- who may only do some of it


def be_a_user(plan: CloudPlan, site: Deployment, *rights: str) -> None:
    """Let commands be those of a user who has these rights to the plan."""
    name, acl = plan.services.make_user()
    headers = {f"X_Container_{right}": acl for right in rights}
    assert plan.services.ask_swift("POST", plan.name, None, **headers).ok
    site.openstack.environment.update(OS_USERNAME=name, OS_PASSWORD=name)


def test_who_may_only_read(plan: CloudPlan, site: Deployment) -> None:
    """It is told before anything is copied, in one line."""
    be_a_user(plan, site, "Read")
    before = plan.state()
    site.openstack(
        *plan.words("--output-env-file", "out.yaml"),
        status=2,
        stderr=rf"plan {plan.name}: this user may read it, and not write to"
        r" it \(PUT 403\)\nhint: [^\n]*write ACL[^\n]*",
    )

    assert plan.state() == before
    assert not site.registry.log
    assert not (site.home / "out.yaml").exists()
    assert not (site.home / "tree").exists()


def test_dry_run_of_who_may_only_read(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """It writes nothing, so it asks for no right to."""
    be_a_user(plan, site, "Read")
    site.openstack(*plan.words("--dry-run"), stderr=PLAIN)

    assert not services.log(rf"^(PUT|POST|DELETE) {plan.name}/\.")


def test_who_may_write_to_the_plan_only(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """That is enough; of the container that all plans share it is told."""
    be_a_user(plan, site, "Read", "Write")
    site.openstack(
        *plan.words(),
        stderr=rf"{PLAIN}container __cache__: __cache_{plan.name}_[^\n]*:"
        rf" this user may not do that \(DELETE 403\); [^\n]*{PROGRESS}",
    )

    assert plan.images() == clouds.wanted()
    assert set(services.objects(plan.name)) == {
        plans.PLAN_ENVIRONMENT,
        "images.yaml",
        plans.ROLES,
        plans.PARAMETERS,
    }


# --- what goes wrong


@pytest.fixture
def faulty(
    services: Services, plan: CloudPlan, site: Deployment
) -> Iterator[FaultProxy]:
    """Something between ``openstack`` and swift that fails now and then."""
    target = services.object_store.split("/")[2]
    with FaultProxy(target) as proxy:
        url = services.account.replace(services.object_store, proxy.url)
        write_clouds(
            site.openstack,
            **in_file(
                services,
                object_store_endpoint_override=url,
                object_store_status_code_retry_delay=0.01,
                object_store_connect_retry_delay=0.01,
            ),
        )
        for name in services.environment():
            del site.openstack.environment[name]
        site.openstack.environment["OS_CLOUD"] = "tests"
        yield proxy


PASSING = {
    "busy": [
        Fault("GET", "images.yaml", status=503, times=2),
        Fault("PUT", "lock", status=503, times=2),
        Fault("PUT", "plan-environment", status=503, times=2),
    ],
    "expired token": [
        Fault("", "", skip=3, status=401),
        Fault("PUT", "plan-env", status=401),
    ],
    "cut to read": [
        Fault("GET", "roles", reset=True, times=2),
        Fault("GET", "images.yaml", truncate=20, times=2),
        Fault("GET", "plan-environment", corrupt=3),
    ],
    "cut to write": [
        Fault("PUT", "lock", reset=True),
        Fault("PUT", "plan-env", reset=True, times=2),
        Fault("DELETE", "lock", reset=True),
    ],
    "somebody else is newer": [Fault("PUT", "plan-env", status=409)],
}


@pytest.mark.parametrize("kind", PASSING)
def test_passing_faults(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment, kind: str
) -> None:
    """Passing faults do no harm."""
    for fault in PASSING[kind]:
        faulty.faults.add(fault)
    told = r"((Failure|Retriable)[^\n]*Retrying[^\n]*\s*)*"
    site.openstack(*plan.words(), stderr=PLAIN + told + PROGRESS)

    assert plan.images() == clouds.wanted()
    assert plan.listed().count(LISTED) == 1


LASTING = [
    Fault("PUT", "containers-default", status=507, times=None),
    Fault("PUT", "plan-environment", status=403, times=None),
    Fault("PUT", "plan-environment", reset=True, times=None),
]


@pytest.mark.parametrize("fault", LASTING)
def test_lasting_fault(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment, fault: Fault
) -> None:
    """The plan still deploys as it did, whichever write fails.

    The next run, when it is over, does what is missing.
    """
    before = plan.state()
    faulty.faults.add(fault)
    site.openstack(
        *plan.words(),
        status=1,
        stderr=rf".*results could not be written\n  plan {plan.name}: [^\n]*",
    )
    after = plan.state()
    assert {path: after[path] for path in before} == before

    faulty.faults.clear()
    site.openstack(*plan.words(), stderr=".*")
    assert plan.images() == clouds.wanted()
    assert plan.listed() == [{"path": "images.yaml"}, LISTED]


def test_lock_that_stays(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment
) -> None:
    """The parameters are written; the message says that others wait."""
    faulty.fail("DELETE", "/lock", times=None, status=403)
    site.openstack(
        *plan.words(),
        stderr=rf"{PLAIN}plan {plan.name}: \.image-prepare/lock: [^\n]*"
        r" \(DELETE 403\); others wait 30 s before they write"
        rf"{PROGRESS}",
    )

    assert plan.images() == clouds.wanted()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Fault("GET", "roles", truncate=20, times=None),
            r"roles_data\.yaml: arrives broken[^\n]*",
        ),
        (
            Fault("PUT", "probe", status=413, times=None),
            r"[^\n]*quota is reached \(PUT 413\)",
        ),
    ],
    ids=["always cut", "quota"],
)
def test_found_out_before(
    faulty: FaultProxy,
    plan: CloudPlan,
    site: Deployment,
    fault: Fault,
    told: str,
) -> None:
    """Nothing is copied for a plan that cannot be read whole or written."""
    faulty.faults.add(fault)
    site.openstack(*plan.words(), status=2, stderr=f"plan {plan.name}: {told}")
    assert not site.registry.log


def interrupt(
    faulty: FaultProxy,
    openstack: base.OpenStack,
    number: int,
    words: Sequence[str],
) -> tuple[int, str]:
    """Send a signal to the program when the object store does not answer.

    :returns: its exit status and what it said; it ends long before there is
        an answer.
    """
    process = openstack.start(*words)
    try:
        assert faulty.silent.wait(timeout=120)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=SILENCE / 5)
    finally:
        process.kill()
    return process.returncode, stderr


@pytest.mark.parametrize(
    ("number", "path"),
    [(signal.SIGINT, "images.yaml"), (signal.SIGTERM, plans.PLAN_ENVIRONMENT)],
)
def test_interrupted_reading(
    faulty: FaultProxy,
    plan: CloudPlan,
    site: Deployment,
    path: str,
    number: int,
) -> None:
    """Nobody waits for an object store that does not answer."""
    before = plan.state()
    faulty.fail("GET", path, times=None, delay=SILENCE)
    status, stderr = interrupt(
        faulty, site.openstack, number, plan.words("--report", "report.json")
    )

    assert status == 128 + number
    assert stderr == "stopped; what was not finished is not visible\n"
    assert plan.state() == before
    assert not site.registry.log
    assert not (site.home / "report.json").exists()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_interrupted_listing(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment, method: str
) -> None:
    """Also while it is asked for several plans at once."""
    faulty.fail(method, f"/{plan.name}", times=None, delay=SILENCE)
    status, stderr = interrupt(
        *(faulty, site.openstack, signal.SIGINT),
        ("image-prepare", "plan", "list"),
    )

    assert status == 128 + signal.SIGINT
    assert stderr == "stopped; what was not finished is not visible\n"


@pytest.mark.parametrize("locked", [False, True])
def test_interrupted_writing(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment, locked: bool
) -> None:
    """The lock is given back, or else it is told that others wait."""
    before = plan.state()
    faulty.fail("PUT", "containers-def", times=None, delay=SILENCE)
    if locked:
        faulty.fail("DELETE", "/lock", times=None, delay=SILENCE)
    status, stderr = interrupt(
        faulty, site.openstack, signal.SIGINT, plan.words()
    )

    after = plan.state()
    assert status == 128 + signal.SIGINT
    told = "others wait 30 s" in stderr
    assert told == (".image-prepare/lock" in after)
    assert told or not locked
    assert {path: after[path] for path in before} == before
    assert not plan.parameters()


def test_keystone_that_fails(
    services: Services, plan: CloudPlan, site: Deployment
) -> None:
    """It is told apart from one that refuses."""
    fault = Fault("POST", "/auth/tokens", times=None, status=500)
    with FaultProxy(services.identity.split("/")[2], [fault]) as keystone:
        url = ("--os-auth-url", f"{keystone.url}/v3")
        site.openstack(
            *(*url, *plan.words()),
            status=2,
            stderr=r"cloud: keystone does not serve: [^\n]*500[^\n]*"
            r"\nhint: [^\n]*",
        )


def test_it_is_told_in_what_request(
    faulty: FaultProxy, plan: CloudPlan, site: Deployment
) -> None:
    """An error of the store names the object, the request and the status."""
    faulty.fail("GET", "images.yaml", times=None, status=403)
    done = site.openstack(*plan.words(), status=2, stderr=".*")

    assert re.fullmatch(
        rf"plan {plan.name}: images\.yaml: [^\n]* \(GET 403\)",
        done.stderr.strip(),
    )
