"""Sizes that keep each file and function readable at one sitting."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator

import pytest

from tests.house.source import Module, modules

FILE_LINES = 250
JOB_LINES = 80
FUNCTION_LINES = 50
POSITIONAL = 5
PARAMETERS = 8
MEDIAN_FILE = 150  # aim: 120
MEDIAN_FUNCTION = 15  # aim: 12

# What may be larger, with its reason. An entry that is no longer needed fails the test.
LONGER_FILES: dict[str, str] = {}
LONGER_JOBS: dict[str, str] = {}
LONGER_FUNCTIONS: dict[str, str] = {}
MORE_PARAMETERS = {f"jobs/{name}.py:{name}": "each is an option of its command line" for name in ("train", "evaluate")}


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return node.end_lineno - first + 1


def file_lines(module: Module) -> int:
    return module.text.count("\n")


def is_job(module: Module) -> bool:
    """What the door runs; config.py, the screen and the like hold what jobs share, and have the limit of all files."""
    return module.path.count("/") == 1 and module.package == "jobs" and "\nif __name__" in module.text


def test_no_file_is_longer_than_250_lines() -> None:
    sizes = {module.path: file_lines(module) for module in modules()}
    wrong = [f"{path}: {size} lines; split it" for path, size in sizes.items() if size > FILE_LINES]
    wrong = [line for line in wrong if line.partition(":")[0] not in LONGER_FILES]
    assert not wrong, "\n".join(wrong)


def test_a_job_is_no_longer_than_80_lines() -> None:
    wrong = [
        f"{module.path}: {file_lines(module)} lines; a job is config, read, call, write: move the rest to its stage"
        for module in modules()
        if is_job(module) and file_lines(module) > JOB_LINES and module.path not in LONGER_JOBS
    ]
    assert not wrong, "\n".join(wrong)


def test_no_function_is_longer_than_50_lines() -> None:
    sizes = {f"{module.path}:{node.name}": length(node) for module in modules() for node in functions(module)}
    wrong = [f"{name}: {size} lines" for name, size in sizes.items() if size > FUNCTION_LINES]
    wrong = [line for line in wrong if line.rpartition(":")[0] not in LONGER_FUNCTIONS]
    assert not wrong, "\n".join(wrong)


def test_the_median_file_and_function_stay_small() -> None:
    files = statistics.median(file_lines(module) for module in modules() if module.text)
    lengths = statistics.median(length(node) for module in modules() for node in functions(module))
    assert files <= MEDIAN_FILE, f"the median file has {files} lines"
    assert lengths <= MEDIAN_FUNCTION, f"the median function has {lengths} lines"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """(positional, all), without self and cls."""
    positional = [*node.args.posonlyargs, *node.args.args]
    if positional and positional[0].arg in {"self", "cls"}:
        positional = positional[1:]
    return len(positional), len(positional) + len(node.args.kwonlyargs)


def test_no_function_takes_more_than_5_positional_and_8_parameters() -> None:
    wrong = []
    for module in modules():
        for node in functions(module):
            positional, total = parameters(node)
            name = f"{module.path}:{node.name}"
            if (positional > POSITIONAL or total > PARAMETERS) and name not in MORE_PARAMETERS:
                wrong.append(f"{name}: {positional} positional, {total} in all; make them keyword-only, or one config")
    assert not wrong, "\n".join(wrong)


def test_no_folder_lies_deeper_than_two_below_its_package() -> None:
    wrong = [module.path for module in modules() if module.path.count("/") > 3]
    assert not wrong, "\n".join(wrong)


def test_no_class_of_ours_is_deeper_than_two() -> None:
    bases: dict[str, list[str]] = {}
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base).split(".")[-1].split("[")[0] for base in node.bases]

    def depth(name: str, seen: tuple[str, ...] = ()) -> int:
        if name not in bases or name in seen:
            return 0
        return 1 + max((depth(base, (*seen, name)) for base in bases[name]), default=0)

    wrong = [f"{name}: depth {depth(name)}; compose instead" for name in bases if depth(name) > 2]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("listed", "needed"),
    [
        (LONGER_FILES, lambda: {m.path for m in modules() if file_lines(m) > FILE_LINES}),
        (LONGER_FUNCTIONS, lambda: {f"{m.path}:{n.name}" for m in modules() for n in functions(m) if length(n) > 50}),
        (LONGER_JOBS, lambda: {m.path for m in modules() if is_job(m) and file_lines(m) > JOB_LINES}),
        (MORE_PARAMETERS, lambda: {f"{m.path}:{n.name}" for m in modules() for n in functions(m)}),
    ],
)
def test_an_exception_that_is_no_longer_needed_is_taken_out(listed: dict[str, str], needed: object) -> None:
    assert callable(needed)
    assert set(listed) <= needed(), "these are within the limits: take them out of the list"
