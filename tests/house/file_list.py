"""docs/files.md: every source file in one line, from its own docstring. `python -m tests.house.file_list` writes it."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from tests.conftest import REPOSITORY
from tests.house.source import PACKAGES, Module, modules

FILE = REPOSITORY / "docs" / "files.md"
_HEAD = """# Files

Made by `python -m tests.house.file_list` from the first sentence of each file. Do not edit.
"""


def file_list() -> str:
    """The text of docs/files.md: one table per folder, folders in the order of the data flow."""
    listed = [module for module in modules() if module.text.strip() and not module.path.endswith("__init__.py")]
    listed.sort(key=lambda module: (PACKAGES.index(module.package), PurePosixPath(module.path).parts))
    folders: dict[str, list[Module]] = {}
    for module in listed:
        folders.setdefault(PurePosixPath(module.path).parent.as_posix(), []).append(module)
    parts = [_HEAD]
    for folder in sorted(folders, key=lambda name: (PACKAGES.index(name.split("/")[0]), name.split("/"))):
        rows = [f"| `{PurePosixPath(module.path).name}` | {_sentence(module)} |" for module in folders[folder]]
        parts.append("\n".join([f"## {folder}/", "", "| file | what it does |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _sentence(module: Module) -> str:
    text = ast.get_docstring(module.tree) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(file_list(), encoding="utf-8")
