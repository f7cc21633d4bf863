"""What holds in the whole house, beside the arrows that `lint-imports` holds (pyproject.toml)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The inventory is where pyinfra can be told how a run goes on when a host fails.
TOP_LEVEL_FILES = {
    "inventory": {"portside", "deploys"},
    "fabfile.py": {"operate", "portside", "fabric", "invoke"},
}

MOST_MODULES = 16
"""In one folder: as many as somebody new takes in at a glance."""


def modules_of(package: str) -> list[Path]:
    return sorted(
        path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
    )


def imports_of(path: Path) -> set[str]:
    """The full names a file imports; relative ones stay inside their package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_there_are_modules_to_check() -> None:
    for package in ("agent", "control", "portside", "operate", "deploys", "lab"):
        assert modules_of(package), package


def test_the_lab_needs_nothing_but_the_standard_library() -> None:
    known = set(sys.stdlib_module_names) | {"lab"}
    wrong = {
        str(path.relative_to(ROOT)): sorted(foreign)
        for path in modules_of("lab")
        if (foreign := tops(imports_of(path)) - known)
    }
    assert wrong == {}


def test_what_nodes_run_with_debians_python_needs_nothing_but_the_standard_library() -> None:
    for path in [*modules_of("deploys/programs"), *modules_of("operate/on_node")]:
        assert tops(imports_of(path)) - set(sys.stdlib_module_names) == set(), path


@pytest.mark.parametrize("name", TOP_LEVEL_FILES)
def test_the_files_at_the_top_import_the_kernel_only(name: str) -> None:
    allowed = set(sys.stdlib_module_names) | TOP_LEVEL_FILES[name]
    assert tops(imports_of(ROOT / name)) - allowed == set()


@pytest.mark.parametrize(
    ("package", "never"),
    [("agent", {"sqlalchemy", "control", "requests"}), ("control", {"agent"})],
)
def test_what_runs_on_a_node_holds_nothing_of_the_operators(package: str, never: set[str]) -> None:
    """Whatever the files say: nothing that one of its modules imports leads there by a detour."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules_of(package)
        # Imported by gunicorn alone: it starts the service. Migrations are alembic's to run.
        if path.name not in ("__init__.py", "__main__.py", "wsgi.py")
        and "migrations" not in path.parts
    ]
    assert len(names) > 10
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    loaded = set(run.stdout.split())
    assert "portside" in loaded
    assert loaded.isdisjoint({"pyinfra", "fabric", "deploys", "yaml", "typer"} | never)


@pytest.mark.parametrize("package", ["bench", "faults", "tests"])
def test_what_several_use_of_the_tests_lies_in_support(package: str) -> None:
    """No suite takes anything from another's conftest or tests, so that each can be changed."""
    wrong = {
        str(path.relative_to(ROOT)): sorted(bad)
        for path in modules_of(package)
        if (bad := {name for name in imports_of(path) if is_of_a_suite(name)})
    }
    assert wrong == {}, "move what is imported to tests/support, and import it from there"


def is_of_a_suite(name: str) -> bool:
    return name.startswith("tests.") and not name.startswith("tests.support")


def test_every_folder_is_a_room_and_no_corridor() -> None:
    modules = Counter(
        path.parent.relative_to(ROOT)
        for package in ("agent", "control", "portside", "deploys")
        for path in modules_of(package)
        if path.name != "__init__.py"
    )
    full = {str(folder): count for folder, count in modules.items() if count > MOST_MODULES}
    assert full == {}, (
        f"more than {MOST_MODULES} modules: give those that belong together a folder of their own, "
        "and its place among the layers in pyproject.toml"
    )


# -- what no committed file may hold ---------------------------------------------------------------

# Put together here, so that this file doesn't hold them itself.
REGISTRIES = re.compile(
    "|".join(
        [
            r"pypi" + r"\.org",
            r"python" + r"hosted\.org",
            r"registry\.npm" + r"js\.org",
            r"registry\.yarn" + r"pkg\.com",
            r"crates" + r"\.io",
            r"ruby" + r"gems\.org",
            r"proxy\.golang" + r"\.org",
            r"--(extra-)?index" + r"-url",
            r"index" + r"-url\s*=",
            r"\[\[tool\.uv\." + r"index\]\]",
        ]
    )
)


def committed_files() -> list[Path]:
    """What is in git or would be with the next `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_package_registry() -> None:
    files = committed_files()
    assert len(files) > 50
    found = []
    for path in files:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if REGISTRIES.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_secret_is_committed() -> None:
    private = re.compile(r"-----BEGIN [A-Z ]*PRIVATE" + r" KEY-----|\"d\":\s*\"[\w-]{43}\"")
    found = [
        str(path.relative_to(ROOT))
        for path in committed_files()
        if private.search(path.read_bytes().decode("utf-8", "replace"))
    ]
    assert found == []


def test_no_test_has_a_name_that_nobody_can_read(request: pytest.FixtureRequest) -> None:
    assert [item.nodeid[:200] for item in request.session.items if len(item.nodeid) > 500] == []
