"""Describes the part of a table that holds some rows, as a condition by which the engine and delta-rs prune files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.engine.spans import SECONDS, quarter_of
from schemas.table import Table

_FEW_IDS = 10_000  # in a condition; with more, complete partitions are rewritten
_FEW_SPANS = 500  # spans of time in a condition
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Region:
    """Columns with the values that all the rows have in them; and spans of the time that orders the files."""

    values: dict[str, list[Any]]
    time: str | None
    spans: list[tuple[datetime, datetime]]  # from (inclusive), to (exclusive); empty: all times

    @classmethod
    def of(cls, table: Table, rows: DataFrame) -> Region:
        """The region of these rows: their partitions; within these their times, if the table's files are ordered by
        time, else their ids, if they are few.
        """
        parts = [name for name in table.partition_by if name in rows.columns]
        values = {name: _few_values(rows, name, _FEW_IDS) for name in parts}
        if table.ordered_by is not None:
            found = _few_values(rows.select(quarter_of(table.ordered_by).alias("quarter")), "quarter", _FEW_SPANS)
            return cls({n: v for n, v in values.items() if v}, table.ordered_by, _merge_spans(found))
        ids = [c.name for c in table.columns if c.name in table.key and c.name not in values and c.dtype == "string"]
        values |= {name: _few_values(rows, name, _FEW_IDS) for name in ids[-1:]}
        return cls({n: v for n, v in values.items() if v}, None, [])

    def may_hold(self, partition: Mapping[str, Any], first: datetime | None, last: datetime | None) -> bool:
        """Whether a file of this partition, with times from `first` to `last` (None: unknown), can hold such a row."""
        if any(name in partition and partition[name] not in values for name, values in self.values.items()):
            return False
        if not self.spans or first is None or last is None:
            return True
        return any(_utc(first) < end and begin <= _utc(last) for begin, end in self.spans)

    def column(self) -> Column:
        """The condition for a frame."""
        found = F.lit(True)
        for name, values in self.values.items():
            found &= F.col(name).isin(values)
        return found & F.expr(self._in_spans("TIMESTAMP '", " UTC'")) if self.spans else found

    def sql(self) -> str | None:
        """The condition in delta-rs' SQL; None: every row."""
        parts = [f'"{name}" IN ({", ".join(map(literal, values))})' for name, values in self.values.items()]
        return " AND ".join([*parts, *([self._in_spans("'", "Z'")] if self.spans else [])]) or None

    def _in_spans(self, before: str, after: str) -> str:
        ends = [[f"{before}{end.replace(tzinfo=None)}{after}" for end in span] for span in self.spans]
        return "(" + " OR ".join(f"({self.time} >= {first} AND {self.time} < {end})" for first, end in ends) + ")"


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def literal(value: Any) -> str:
    """A value in delta-rs' SQL."""
    text = str(value).replace("'", "''")
    return f"'{text}'" if isinstance(value, str) else f"DATE '{text}'" if hasattr(value, "isoformat") else text


def _few_values(rows: DataFrame, name: str, most: int) -> list[Any]:
    """The values of a column, sorted; empty where there are more than `most`."""
    found = rows.select(name).distinct().limit(most + 1).collect()
    return sorted(row[0] for row in found) if len(found) <= most else []


def _merge_spans(numbers: list[int]) -> list[tuple[datetime, datetime]]:
    """The spans of these numbers, with adjacent ones merged."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and ends[-1][1] == number:
            ends[-1][1] = number + 1
        else:
            ends.append([number, number + 1])
    length = timedelta(seconds=SECONDS)
    return [(_EPOCH + first * length, _EPOCH + end * length) for first, end in ends]
