"""What the code imports is what pyproject.toml names, and what it names is pinned."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = {"contracts", "services", "collectors", "model_jobs", "tests"}
EXTRAS = {"run": [], "dev": ["dev", "evaluation"], "evaluation": ["evaluation"], "neural": ["neural"]}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    """The distributions of requirement lines."""
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in requirements}


def asked(extras: list[str]) -> set[str]:
    """The distributions that pyproject.toml names, with those of some extras."""
    return named(
        [*PROJECT["dependencies"], *(line for name in extras for line in PROJECT["optional-dependencies"][name])]
    )


# In the standard library of newer Pythons than the oldest that we take.
LATER_STDLIB = {"compression"}


def imported(*folders: str) -> Iterator[tuple[str, Path]]:
    """(top-level module, file) of every absolute import outside the standard library and our own packages."""
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top not in OURS and top not in sys.stdlib_module_names | LATER_STDLIB:
                    yield top, path.relative_to(ROOT)


@pytest.mark.parametrize(
    ("folders", "extra"),
    [
        (("contracts", "services", "collectors", "model_jobs"), ["neural", "evaluation"]),
        (("tests",), ["dev", "neural"]),
    ],
)
def test_every_import_is_a_named_dependency(folders, extra) -> None:
    wanted, distributions = asked(extra), packages_distributions()
    if "tests" in folders:
        # One file of the benchmarks runs in an environment of its own.
        wanted |= pinned_in("bench")
    missing = {
        f"{module} ({path})"
        for module, path in imported(*folders)
        # What only an extra brings is not installed here; there, modules and distributions have the same names.
        if not wanted & {normal(name) for name in distributions.get(module, [module])}
    }
    assert not missing, "pyproject.toml does not name what these files import"


def pinned_in(name: str) -> set[str]:
    """The distributions that a file of requirements pins."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {normal(found) for found in re.findall(r"^([\w.-]+)==", text, re.M)}


@pytest.mark.parametrize("name", EXTRAS)
def test_every_dependency_is_pinned_with_its_hashes(name) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pinned = pinned_in(name)
    assert asked(EXTRAS[name]) <= pinned, "`make lock` pins them anew"
    assert len(re.findall(r"^[\w.-]+==.*\\$", text, re.M)) == len(re.findall(r"^[\w.-]+==", text, re.M))


@pytest.mark.parametrize("name", EXTRAS)
def test_pins_name_no_index(name) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^--?(index|extra-index|find-links|i|f)\b", text, re.M)


DATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
CODE = {".py", ".pyc"}


def test_an_installed_wheel_has_every_file_that_the_packages_read() -> None:
    shipped = {
        path
        for package, globs in DATA.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    there = {
        path
        for folder in ("contracts", "services", "collectors", "model_jobs")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in CODE
    }
    # The examples are for the tests alone.
    assert {str(path) for path in there - shipped if "examples" not in path.parts} == set()
    assert all(any((ROOT / package.replace(".", "/")).glob(glob)) for package, globs in DATA.items() for glob in globs)
