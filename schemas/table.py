"""Column, Check and Table: the types that every table contract is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.errors import ContractError

SCALARS = frozenset({"binary", "boolean", "date", "double", "float", "int", "long", "string", "timestamp"})
_ARRAY = re.compile(r"array<(.+)>")


def element_type(dtype: str) -> str | None:
    """The element type of an array type such as `array<int>`; None for a scalar type."""
    match = _ARRAY.fullmatch(dtype)
    return match.group(1) if match else None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, type (a scalar of SCALARS or `array<type>`), meaning in one line."""

    name: str
    dtype: str
    meaning: str
    nullable: bool = False

    def __post_init__(self) -> None:
        dtype: str | None = self.dtype
        while dtype is not None and dtype not in SCALARS:
            dtype = element_type(dtype)
        if dtype is None:
            raise ContractError(f"column {self.name}: {self.dtype!r} is no type of {sorted(SCALARS)}")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule for every row: Delta refuses a write where `sql` is not true; null counts as not true."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One Delta table: columns in order, the unique key, partition columns, rules for every row.

    `ordered_by`: a time by which the rows of a partition are laid out in files, so that a change of a few rows, mostly
    late ones, rewrites few files.

    `deletion_vectors`: a changed row is marked in its file instead of rewriting the file. Cheap for small changes to
    large tables; readers other than Spark may refuse such a table.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    ordered_by: str | None = None
    checks: tuple[Check, ...] = ()
    deletion_vectors: bool = False

    def __post_init__(self) -> None:
        names = self.column_names
        if len(set(names)) != len(names):
            raise ContractError(f"table {self.name}: a column name occurs twice in {names}")
        order = () if self.ordered_by is None else (self.ordered_by,)
        unknown = [name for name in (*self.key, *self.partition_by, *order) if name not in names]
        if unknown or not self.key:
            raise ContractError(f"table {self.name}: key, partition or order names no column: {unknown}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)
