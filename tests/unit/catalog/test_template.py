"""Image tables of the user's own, which are templates."""

import os

import pytest

from imageprep_client import catalog, errors
from imageprep_client.catalog import template

TABLE = """\
container_images_template:
- imagename: "{{namespace}}/{{name_prefix}}api{{name_suffix}}:{{tag}}"
  image_source: site
  params: [ContainerApiImage, ContainerApiConfigImage]
  services: [OS::TripleO::Services::Api]
{% if neutron_driver == "ovn" %}
- imagename: "{{namespace}}/net:{{tag}}"
{% endif %}
{% include "more.j2" %}
"""
MORE = """\
- imagename: "{{more_namespace}}/more:1"
  params:
  services: []
"""


@pytest.fixture
def render(tmp_path):
    """Writes a template and renders it over master's values."""

    def write_and_render(text, **values):
        path = tmp_path / "table.yaml.j2"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return catalog.load("master").with_template(str(path)).render(values)

    return write_and_render


@pytest.fixture
def problem(render):
    """Renders a template that cannot be; the error."""

    def fail(text):
        with pytest.raises(errors.InvalidFile) as caught:
            render(text)
        assert caught.value.path.endswith("table.yaml.j2")
        return caught.value

    return fail


def test_table(render, tmp_path):
    """Values, conditions and includes of its directory work."""
    (tmp_path / "more.j2").write_text(MORE)
    found = render(TABLE, name_suffix="x", more_namespace="r.io/m")
    assert found == (
        catalog.TableImage(
            image="docker.io/tripleomaster/centos-binary-api-x:current-tripleo",
            source="site",
            parameters=("ContainerApiImage", "ContainerApiConfigImage"),
            services=frozenset(["OS::TripleO::Services::Api"]),
        ),
        catalog.TableImage("r.io/m/more:1", "", (), frozenset()),
    )


def test_condition(render, tmp_path):
    """An image may depend on a value."""
    (tmp_path / "more.j2").write_text("")
    assert len(render(TABLE, neutron_driver="ovn")) == 2


def test_default_parameters(tmp_path):
    """Its parameters are all that a plan gets."""
    path = tmp_path / "table.yaml.j2"
    path.write_text(
        "container_images_template: [{imagename: 'r.io/a:1', params: [P]}]"
    )
    found = catalog.load("queens").with_template(str(path))
    assert found.default_parameters() == {"P": "r.io/a:1"}


def test_template_in_working_directory(tmp_path, monkeypatch):
    """A path without a directory is one here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.j2").write_text("container_images_template: []")
    assert catalog.load("zed").with_template("t.j2").render({}) == ()


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__",
        "''.__class__.__mro__",
        "namespace.__init__.__globals__",
        "cycler.__init__.__globals__",
        "'{0.__class__}'.format(1)",
        "self._TemplateReference__context",
        "[].append(1)",
        "''['__class__']",
    ],
)
def test_sandbox(problem, expression):
    """An attribute that leads out of the template is refused by line."""
    error = problem("\n\nx: {{ " + expression + " }}")
    assert "line 3 of table.yaml.j2: access to attribute" in str(error)


@pytest.mark.parametrize("expression", ["'a' * 10**12", "2 ** 3"])
def test_no_arithmetic(problem, expression):
    """An expression that could fill the memory is refused."""
    assert "is not allowed" in str(problem("{{ " + expression + " }}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n{% if %}", "line 2 of table.yaml.j2: Expected an expression"),
        ("\n{{ 1/0 }}", "line 2 of table.yaml.j2: division by zero"),
        ("{{ x.y.z }}", "line 1 of table.yaml.j2: 'x' is undefined"),
        ("{{ 1|nofilter }}", "No filter named 'nofilter'"),
        ("{% include 'no.j2' %}", "includes 'no.j2', which is not in its"),
        ("{% include '../x.j2' %}", "includes '../x.j2', which is not in"),
        ("{% include 'table.yaml.j2' %}", "recursion"),
        ("{% for i in range(10000000) %}{% endfor %}", "Range too big"),
        (b"\xff\xfe", "is not UTF-8 text"),
        ("\x01", "makes no table: invalid YAML: line 1, column 1"),
        ("a: [\n", "makes no table: invalid YAML: line 2"),
        ("a: 2026-99-99", "makes no list of images"),
        ("[" * 100, "nested deeper than 64 levels"),
        (
            "a: &a [" + "x," * 9999 + "]\nb: [" + "*a," * 99 + "]",
            "over 250000",
        ),
        ("- x", "container_images_template: makes no list"),
        ("container_images_template: {}", "makes no list of images"),
    ],
)
def test_bad_template(problem, text, message):
    """A template that makes no table is an error with its place."""
    assert message in str(problem(text))


@pytest.mark.parametrize(
    ("image", "key", "message"),
    [
        ("x", "", "expected a mapping"),
        ("{}", ".imagename", "expected a string"),
        ("{imagename: 3}", ".imagename", "expected a string"),
        ("{imagename: a, uploader: x}", ".uploader", "unknown key"),
        ("{imagename: a, params: x}", ".params", "expected a list"),
        ("{imagename: a, params: [1]}", ".params[0]", "expected a string"),
        ("{imagename: a, services: 1}", ".services", "expected a list"),
        ("{imagename: a, image_source: []}", ".image_source", "a string"),
    ],
)
def test_bad_image(problem, image, key, message):
    """An image that is none is named by its key path."""
    error = problem(f"container_images_template:\n- {image}")
    assert error.key == f"container_images_template[0]{key}"
    assert message in error.problem


def test_size(problem, monkeypatch):
    """A template that makes too much is stopped."""
    monkeypatch.setattr(template, "MAX_RENDERED", 1000)
    error = problem("{% for i in range(99999) %}xxxx{% endfor %}")
    assert "makes over 1000 characters" in str(error)


def test_file_size(problem, monkeypatch):
    """A template file that is too large is not read."""
    monkeypatch.setattr(template, "MAX_FILE", 10)
    assert "is larger than 10 bytes" in str(problem("x" * 11))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("no.j2", r"no\.j2: no such file"), (".", "is a directory")],
)
def test_unreadable_file(tmp_path, name, problem):
    """A file that is not there, or is a directory, is named."""
    with pytest.raises(errors.InvalidFile, match=problem):
        catalog.load("zed").with_template(str(tmp_path / name))


def test_unreadable_include(problem, tmp_path):
    """An include that is a directory is an error like any other."""
    (tmp_path / "sub").mkdir()
    assert "sub" in str(problem("{% include 'sub' %}"))


@pytest.mark.parametrize(
    "text",
    [
        # Each nested loop is within what the sandbox allows.
        "{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% if a and b == -1 %}x{% endif %}{% endfor %}{% endfor %}",
        "{{ ('%999999999d'|format(1))|length }}",
        "{{ 'x'|center(9999999999)|length }}",
    ],
    ids=["loops", "format", "padding"],
)
def test_bounds(problem, monkeypatch, text):
    """Rendering ends, whatever time or memory the template asks for."""
    monkeypatch.setattr(template, "PATIENCE", 1.0)
    message = str(problem(text))
    assert "memory" in message or "within 1 s" in message


def test_include_of_a_pipe(problem, tmp_path):
    """A named pipe, which may never have an end, is not included."""
    os.mkfifo(tmp_path / "pipe")
    assert "includes 'pipe'" in str(problem("{% include 'pipe' %}"))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("{{ my_flavour }}", True),
        ("{{ flavour }}", False),
        ("{%- include 'x' %}", True),
        ("include this", False),
    ],
)
def test_known_variables(tmp_path, text, known):
    """A variable is known that the template, or a file beside it, may use."""
    path = tmp_path / "table.j2"
    path.write_text(text)
    table = catalog.load("master").with_template(str(path))
    assert table.knows("my_flavour") is known
    assert table.knows("name_prefix")
