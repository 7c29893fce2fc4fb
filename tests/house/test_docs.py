"""Documents that cannot fall behind the code: jobs, tables, rooms and files are named, options and links exist."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from dataclasses import fields
from typing import get_type_hints

import pytest

from jobs.cli.command_line import options_of
from schemas.table import Table
from tests.conftest import REPOSITORY
from tests.house.file_list import FILE, file_list
from tests.house.source import PACKAGES, modules, tracked


def document(name: str) -> str:
    path = REPOSITORY / name
    assert path.is_file(), f"{name} is missing: write it"
    return path.read_text(encoding="utf-8")


def documents() -> list[str]:
    """What users read, but for the log of experiments and of changes."""
    return [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")),
    ]


def named_somewhere(word: str) -> bool:
    both = document("README.md") + document("ARCHITECTURE.md")
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", both) is not None


def jobs() -> list[str]:
    return [module.name for module in modules() if module.package == "jobs" and "\nif __name__" in module.text]


def tables() -> list[str]:
    loaded = [importlib.import_module(m.name) for m in modules() if m.package == "schemas" and "as_" not in m.name]
    return sorted({value.name for module in loaded for value in vars(module).values() if isinstance(value, Table)})


def test_every_module_says_where_it_stands() -> None:
    wrong = [
        f"{module.path}: begin with a docstring of one sentence that places it in the flow"
        for module in modules()
        if module.text.strip() and not ast.get_docstring(module.tree)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_job_is_named_in_the_documents() -> None:
    wrong = [job for job in jobs() if not named_somewhere(job.rpartition(".")[2])]
    assert not wrong, f"name these jobs in README.md or ARCHITECTURE.md: {wrong}"


def test_every_table_is_named_in_the_documents() -> None:
    found = tables()
    assert "impressions" in found
    wrong = [table for table in found if not named_somewhere(table)]
    assert not wrong, f"name these tables in README.md or ARCHITECTURE.md: {wrong}"


# Options of other programs, and whose they are.
FOREIGN: dict[str, str] = {
    "--all": "./feedloop test",
    "--archives": "spark-submit",
    "--check": "ruff format",
    "--conf": "spark-submit",
    "--deploy-mode": "spark-submit",
    "--jars": "spark-submit",
    "--json": "databricks",
    "--logdir": "tensorboard",
    "--master": "spark-submit",
    "--name": "a word for any of ours",
    "--no-deps": "uv",
    "--noconftest": "pytest",
    "--nproc-per-node": "torchrun",
    "--packages": "spark-submit",
    "--porcelain": "git",
    "--py-files": "spark-submit",
    "--python": "uv",
    "--query-gpu": "nvidia-smi",
    "--quiet": "uv",
    "--require-hashes": "uv",
    "--standalone": "torchrun",
    "--strict": "mypy",
    "--target": "uv",
    "--upgrade": "./feedloop lock",
}
_OPTION = re.compile(r"(?<![\w/.-])--[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*")


def plain_options(job: Callable[..., object]) -> set[str]:
    """Options of a benchmark whose command line is jobs/bench/plain_options.py's."""
    names = [field.name.replace("_", "-") for field in fields(get_type_hints(job)["config"])]
    return {"--device", *(f"--{name}" for name in names), *(f"--no-{name}" for name in names)}


def options_named() -> dict[str, str]:
    """Option -> where it is named: in the documents, and in whatever the code says."""
    named = {option: name for name in documents() for option in _OPTION.findall(document(name))}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= dict.fromkeys(_OPTION.findall(node.value), f"{module.path}:{node.lineno}")
    return named


def test_every_option_that_is_named_exists() -> None:
    known: set[str] = set()
    for name in jobs():
        module = importlib.import_module(name)
        job = getattr(module, name.rpartition(".")[2])
        known |= plain_options(job) if hasattr(module, "run_plain") else options_of(job)
    named = options_named()
    assert {"--run.no-tensorboard", "--resume", "--planner.policy"} <= named.keys()
    wrong = [f"{where}: {option}" for option, where in named.items() if option not in known and option not in FOREIGN]
    assert not wrong, "no job has these options, and FOREIGN does not list them:\n" + "\n".join(sorted(wrong))
    assert set(FOREIGN) <= named.keys(), "take out what nobody names"


def test_every_folder_is_named_in_the_documents() -> None:
    folders = sorted({name.partition("/")[0] for name in tracked() if "/" in name})
    wrong = [folder for folder in folders if not named_somewhere(folder)]
    assert not wrong, f"name these folders in README.md or ARCHITECTURE.md: {wrong}"


def section(title: str) -> str:
    """One section of ARCHITECTURE.md."""
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", document("ARCHITECTURE.md"), flags=re.DOTALL | re.MULTILINE
    )
    assert found, f"ARCHITECTURE.md: no section {title}"
    return found.group(1)


def test_every_room_has_a_line_in_architecture() -> None:
    rooms = {
        path.rpartition("/")[0] + "/" for path in tracked() if path.split("/")[0] in PACKAGES and path.endswith(".py")
    }
    rows = section("Rooms")
    within = {f"{room.group(1)}{inner}" for room in re.finditer(r"^\| `([\w/]+/)` \| (.*)$", rows, flags=re.MULTILINE)
              for inner in re.findall(r"`(\w+/)`", room.group(2))}  # fmt: skip
    named = set(re.findall(r"^\| `([\w/]+/)` ", rows, flags=re.MULTILINE)) | within
    assert sorted(rooms - named) == [], "ARCHITECTURE.md, Rooms: name these folders"
    gone = [room for room in named if not (REPOSITORY / room).is_dir()]
    assert gone == [], "ARCHITECTURE.md, Rooms: these folders are not there"


def test_the_file_list_is_as_the_files_say() -> None:
    assert FILE.read_text(encoding="utf-8") == file_list(), "python -m tests.house.file_list writes docs/files.md"


@pytest.mark.parametrize("title", ["One impression through the system", "One gradient through the trainer"])
def test_the_walks_stop_at_functions_that_exist(title: str) -> None:
    stops = re.findall(r"^\d+\. `([\w/]+\.py):(\w+)`", section(title), flags=re.MULTILINE)
    assert 2 < len(stops) <= 12
    assert len(set(stops)) == len(stops)
    by_path = {module.path: module.tree for module in modules()}
    gone = [
        f"{path}:{name}"
        for path, name in stops
        if name not in {node.name for node in ast.walk(by_path[path]) if isinstance(node, ast.FunctionDef)}
    ]
    assert gone == []


def test_architecture_is_read_at_one_sitting() -> None:
    assert document("ARCHITECTURE.md").count("\n") <= 200


def test_links_between_documents_lead_somewhere() -> None:
    wrong = [
        f"{path}: {target}"
        for path in [name for name in tracked() if name.endswith(".md")]
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document(path))
        if "://" not in target and not ((REPOSITORY / path).parent / target).exists()
    ]
    assert not wrong, "\n".join(wrong)


def test_only_jobs_speak_to_the_user() -> None:
    wrong = [
        f"{module.path}:{node.lineno}: print; return it, and let the job say it"
        for module in modules()
        if module.package != "jobs"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, "\n".join(wrong)


def test_the_readme_names_the_commands_that_ci_runs() -> None:
    run = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"^\./feedloop .*$", run, flags=re.MULTILINE)
    assert commands == ["./feedloop check", "./feedloop test"]
    missing = [command for command in [*commands, "./feedloop demo"] if command not in document("README.md")]
    assert not missing, f"README.md does not name {missing}"


def test_no_todo_without_an_issue() -> None:
    wrong = [
        f"{module.path}:{number}"
        for module in modules()
        for number, line in enumerate(module.text.splitlines(), start=1)
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!.*#\d+)", line)
    ]
    assert not wrong, "\n".join(wrong)
