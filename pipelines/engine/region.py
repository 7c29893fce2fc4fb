"""Region: the part of a table that holds some rows, as a condition that the engine and delta-rs both prune files by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.table import Table

_FEW_IDS = 10_000  # in a condition: beyond, whole partitions are written anew
_FEW_SPANS = 500  # of time
_SPAN_SECONDS = 900
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Region:
    """Columns and the values in them that together hold all the rows; and, of the time that orders the files, spans."""

    values: dict[str, list[Any]]
    time: str | None
    spans: list[tuple[datetime, datetime]]  # from, and up to but without; none: all times

    @classmethod
    def of(cls, table: Table, rows: DataFrame) -> Region:
        """The region of these rows: their partitions; within these the times of a table whose files are ordered by
        time, else, if they are few, the rows' ids.
        """
        values = {name: _few(rows, name, _FEW_IDS) for name in table.partition_by}
        if table.ordered_by is not None:
            micros = F.unix_micros(table.ordered_by) / (_SPAN_SECONDS * 1e6)
            found = _few(rows.select(F.floor(micros).cast("long").alias("span")), "span", _FEW_SPANS)
            return cls({n: v for n, v in values.items() if v}, table.ordered_by, _joined(found))
        ids = [c.name for c in table.columns if c.name in table.key and c.name not in values and c.dtype == "string"]
        values |= {name: _few(rows, name, _FEW_IDS) for name in ids[-1:]}
        return cls({n: v for n, v in values.items() if v}, None, [])

    def column(self) -> Column:
        """The condition for a frame of the engine."""
        found = F.lit(True)
        for name, values in self.values.items():
            found &= F.col(name).isin(values)
        return found & F.expr(self._in_spans("TIMESTAMP '", " UTC'")) if self.spans else found

    def sql(self) -> str | None:
        """The condition as delta-rs reads it; None: every row."""
        parts = [f'"{name}" IN ({", ".join(map(literal, values))})' for name, values in self.values.items()]
        return " AND ".join([*parts, *([self._in_spans("'", "Z'")] if self.spans else [])]) or None

    def _in_spans(self, before: str, after: str) -> str:
        ends = [[f"{before}{end.replace(tzinfo=None)}{after}" for end in span] for span in self.spans]
        return "(" + " OR ".join(f"({self.time} >= {first} AND {self.time} < {end})" for first, end in ends) + ")"


def literal(value: Any) -> str:
    """A value in delta-rs' SQL."""
    text = str(value).replace("'", "''")
    return f"'{text}'" if isinstance(value, str) else f"DATE '{text}'" if hasattr(value, "isoformat") else text


def _few(rows: DataFrame, name: str, most: int) -> list[Any]:
    """The values of a column, sorted; none where they are more than `most`."""
    found = rows.select(name).distinct().limit(most + 1).collect()
    return sorted(row[0] for row in found) if len(found) <= most else []


def _joined(numbers: list[int]) -> list[tuple[datetime, datetime]]:
    """Spans by number, those that follow each other as one."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and ends[-1][1] == number:
            ends[-1][1] = number + 1
        else:
            ends.append([number, number + 1])
    length = timedelta(seconds=_SPAN_SECONDS)
    return [(_EPOCH + first * length, _EPOCH + end * length) for first, end in ends]
