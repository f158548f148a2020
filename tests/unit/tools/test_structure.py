"""The check of the package's structure."""

from __future__ import annotations

import pathlib

import pytest

from tools import structure


def write(top: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    """A package with these modules."""
    for name in ("__init__.py", *files):
        path = top / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files.get(name, ""))
    return top / "package"


@pytest.mark.parametrize(
    "files",
    [
        {"a.py": "class X: ...", "b.py": "class Y: ..."},
        {"a.py": "class _X: ...", "b.py": "class _X: ..."},
        {
            "a.py": "def f():\n    class X: ...",
            "b.py": "def f():\n    class X: ...",
        },
        {"a.py": "class X: ...", "data/b.py": "class X: ..."},
        {"a.py": "from package import b", "b.py": "import os"},
        {"a.py": "import package.a_b", "a_b.py": "import a"},
        {"__init__.py": "from package.a import x", "a.py": "x = 1"},
        {"a.py": "\n" * structure.MAX_LINES},
        {f"m{n}.py": "" for n in range(structure.MAX_MODULES)},
    ],
)
def test_good_structure_passes(
    tmp_path: pathlib.Path, files: dict[str, str]
) -> None:
    """Nothing is said of a package that keeps the rules."""
    assert not list(structure.violations(write(tmp_path, files), {}))


@pytest.mark.parametrize(
    ("files", "violation"),
    [
        (
            {"a.py": "class X: ...", "b.py": "class X: ..."},
            "class X is defined in package.a, package.b",
        ),
        (
            {"a.py": "class X:\n    class Y: ...", "b.py": "class Y: ..."},
            "class Y is defined in package.a, package.b",
        ),
        (
            {"a.py": "if 1:\n    class X: ...\nelse:\n    class X: ..."},
            "class X is defined in package.a, package.a",
        ),
        (
            {"a.py": "import package.b", "b.py": "from package.a import x"},
            "import circle: package.a, package.b",
        ),
        (
            {"a.py": "from . import b", "b.py": "from .a import x"},
            "import circle: package.a, package.b",
        ),
        (
            {"__init__.py": "from .a import x", "a.py": "from . import y"},
            "import circle: package, package.a",
        ),
        (
            {
                "a.py": "from package.b import x",
                "b.py": "from package.c import x",
                "c.py": "if TYPE_CHECKING:\n    from package.a import x",
                "d.py": "from package.a import x",
            },
            "import circle: package.a, package.b, package.c",
        ),
        (
            {"a.py": "def f():\n    import package.a"},
            "import circle: package.a",
        ),
        (
            {"a.py": "\n" * (structure.MAX_LINES + 1)},
            f"package.a has more than {structure.MAX_LINES} lines",
        ),
        (
            {f"m{n}.py": "" for n in range(structure.MAX_MODULES + 1)},
            f"package has more than {structure.MAX_MODULES} modules",
        ),
    ],
)
def test_violation_is_named(
    tmp_path: pathlib.Path, files: dict[str, str], violation: str
) -> None:
    """A broken rule is told with the modules that break it."""
    top = write(tmp_path, files)
    assert list(structure.violations(top, {})) == [violation]


def test_large_package_has_a_reason(tmp_path: pathlib.Path) -> None:
    """A package may have many modules when it is written why."""
    names = [f"m{n}.py" for n in range(structure.MAX_MODULES + 1)]
    top = write(tmp_path, dict.fromkeys(names, ""))
    assert not list(structure.violations(top, {"package": "one per noun"}))
    assert list(structure.violations(top, {"package": " "}))


def test_reason_without_need_is_named(tmp_path: pathlib.Path) -> None:
    """A reason goes when the package has become small."""
    top = write(tmp_path, {"a.py": ""})
    assert list(structure.violations(top, {"package": "one per noun"})) == [
        "package has no need of its reason in pyproject.toml"
    ]


def test_violation_that_is_known_and_mended_fails(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The list of known violations can only become shorter."""
    write(tmp_path, {"a.py": "import package.a"})
    monkeypatch.setattr(structure, "TOP", tmp_path)
    monkeypatch.setattr(structure, "PACKAGE", "package")
    settings = tmp_path / "pyproject.toml"
    settings.write_text(
        "[tool.structure]\nknown = ['import circle: package.a']"
    )
    assert structure.main() == 0
    (tmp_path / "package" / "a.py").write_text("")
    assert structure.main() == 1
    assert "import circle: package.a" in capsys.readouterr().err
