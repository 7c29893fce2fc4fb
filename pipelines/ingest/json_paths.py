"""Paths of names into a JSON object: what Spark reads along them, and whether a name on the way stands twice.

A path is a tuple of names, with EACH where it goes into the objects of a list.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from pipelines.ingest.mapping import EACH

Path = tuple[str, ...]


def schema_of(leaves: Mapping[Path, str]) -> str:
    """The schema of `from_json` that reads the paths, each as its type, and nothing else."""
    return ", ".join(f"{_quoted(name)} {_type(below)}" for name, below in _below(leaves).items())


def value_at(record: Column, path: Path) -> Column:
    """What stands at the end of the path: of a path through EACH, one value for each object of the list."""
    if not path:
        return record
    if path[0] == EACH:
        return F.transform(record, lambda each: value_at(each, path[1:]))
    return value_at(record.getField(path[0]), path[1:])


def case_groups(paths: Iterable[Path]) -> list[list[Path]]:
    """The paths in groups, few, in which no two names differ by case alone: Spark takes such names for one."""
    groups: list[list[Path]] = []
    for path in dict.fromkeys(paths):
        free = [group for group in groups if not any(_differ_by_case(path, other) for other in group)]
        if free:
            free[0].append(path)
        else:
            groups.append([path])
    return groups


def twice_told(text: Column, keys: Column, paths: Iterable[Path]) -> Column:
    """Whether a name on the way of a path stands twice in its object: the parser would choose which of them counts.

    `keys` are those of the whole object.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        for depth, name in enumerate(path):
            if name != EACH:
                names.setdefault(path[:depth], set()).add(name)
    nested = [_twice_at(text, level, wanted) for level, wanted in names.items() if level]
    return functools.reduce(operator.or_, nested, _twice(keys, names[()]))


def _twice_at(text: Column, level: Path, names: Iterable[str]) -> Column:
    """As `twice_told`, of the object (or all objects) at the path `level`."""
    if not level:
        return _twice(F.json_object_keys(text), names)
    if EACH not in level:
        return _twice(F.json_object_keys(_read(text, level, "string")), names)
    at = level.index(EACH)
    objects = _read(text, level[:at], "array<string>")
    return F.coalesce(F.exists(objects, lambda each: _twice_at(each, level[at + 1 :], names)), F.lit(False))


def _read(text: Column, path: Path, kind: str) -> Column:
    return value_at(F.from_json(text, schema_of({path: kind})), path)


def _twice(keys: Column, names: Iterable[str]) -> Column:
    wanted = F.array(*(F.lit(name) for name in sorted(names)))
    ours = F.size(F.filter(keys, lambda key: F.array_contains(wanted, key)))
    any_twice = F.size(F.array_distinct(keys)) < F.size(keys)
    return F.coalesce(any_twice & (ours > F.size(F.array_intersect(keys, wanted))), F.lit(False))


def _type(leaves: Mapping[Path, str]) -> str:
    if () in leaves:
        return leaves[()]
    below = _below(leaves)
    if EACH in below:
        return f"array<{_type(below[EACH])}>"
    return f"struct<{', '.join(f'{_quoted(name)}: {_type(under)}' for name, under in below.items())}>"


def _below(leaves: Mapping[Path, str]) -> dict[str, dict[Path, str]]:
    """The leaves by the first name of their paths."""
    found: dict[str, dict[Path, str]] = {}
    for path, kind in leaves.items():
        found.setdefault(path[0], {})[path[1:]] = kind
    return found


def _differ_by_case(path: Path, other: Path) -> bool:
    pairs = zip(path, other, strict=False)
    first = next(((one, another) for one, another in pairs if one != another), ("", "other"))
    return first[0].casefold() == first[1].casefold()


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
