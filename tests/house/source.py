"""The source tree as the house tests see it: modules, their syntax trees and what each imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("schemas", "pipelines", "trainer", "jobs")


@dataclass(frozen=True, slots=True)
class Module:
    """One source file."""

    name: str  # dotted; a package's own __init__ has the package's name
    path: str  # below the repository
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and where it stands."""

    target: str  # dotted; the module itself, not the name taken from it
    line: int


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the four packages."""
    return tuple(_module(path) for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py")))


@cache
def names() -> frozenset[str]:
    """The dotted names of all our modules."""
    return frozenset(module.name for module in modules())


@cache
def tracked() -> tuple[str, ...]:
    """Files of the repository, or that will be: all that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout: which files belong to the project is not known")
    return tuple(name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file())


def _module(path: Path) -> Module:
    below = path.relative_to(REPOSITORY)
    dotted = ".".join(below.with_suffix("").parts).removesuffix(".__init__")
    text = path.read_text(encoding="utf-8")
    return Module(name=dotted, path=below.as_posix(), text=text, tree=ast.parse(text))


def imports(tree: ast.AST) -> list[Import]:
    """All imports below `tree`; `from a import b` counts as a.b where that is a module of ours, else as a."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the full name"
            base = node.module or ""
            inner = [f"{base}.{alias.name}" for alias in node.names]
            found += [Import(name if name in names() else base, node.lineno) for name in inner]
    return found


def is_ours(target: str) -> bool:
    """Whether the import is of one of the four packages."""
    return target.partition(".")[0] in PACKAGES


def is_theirs(target: str) -> bool:
    """Whether the import is of an installed library."""
    return not is_ours(target) and target.partition(".")[0] not in sys.stdlib_module_names
