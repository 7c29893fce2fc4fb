"""Finds the lines of forgotten users: usable lines by parsing them as ingest does, refused lines by their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.parse.lines import EARLIEST, parse_batches
from pipelines.lake.suppression import Suppressed, suppressed_in
from pipelines.lake.tables import Lake
from schemas.raw_log import WITHHELD

PLACE = ("source", "file", "position", "batch")
_READ = (*PLACE, "line", "format", "arrived_at")
_PLACE_TYPES = "source string, file string, position bigint, batch bigint, user_hmac string"


@dataclass(frozen=True, slots=True)
class LinesOfUsers:
    """In a task: finds the rows of RAW_LOG whose lines concern a forgotten user."""

    users: Suppressed
    replays: tuple[tuple[str, int, int, str], ...] = ()  # source, first and last batch, format of a replay

    def places(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """PLACE of these rows, and the user's hash."""
        for batch in batches:
            found = self.user_hashes(batch)
            columns = [*(batch.column(name) for name in PLACE), pa.array(found.tolist(), pa.string())]
            rows = pa.RecordBatch.from_arrays(columns, [*PLACE, "user_hmac"])
            yield rows.filter(pc.is_valid(columns[-1]))

    def others(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The other rows, as they are."""
        for batch in batches:
            yield batch.filter(pc.is_null(pa.array(self.user_hashes(batch).tolist(), pa.string())))

    def user_hashes(self, batch: pa.RecordBatch) -> Any:
        """For each row the hash of its forgotten user, or None: an array of objects."""
        found = np.full(batch.num_rows, None, object)
        for source in batch.column("source").unique().to_pylist():
            ours = _equal(batch, "source", source)
            for format in batch.column("format").unique().to_pylist():
                if format != WITHHELD:  # such a line is kept as its HMAC only
                    self._mark(batch, ours & _equal(batch, "format", format), source, format, found)
            for name, first, last, format in self.replays:
                if name == source:
                    number = batch.column("batch").to_numpy(zero_copy_only=False)
                    inside = ours & (number >= first) & (number <= last) & ~_equal(batch, "format", WITHHELD)
                    self._mark(batch, inside, source, format, found)
        return found

    def _mark(self, batch: pa.RecordBatch, wanted: Any, source: str, format: str, found: Any) -> None:
        """Write the user's hash into `found` for the wanted rows that, read by this format, are a forgotten user's."""
        places = np.flatnonzero(wanted & (found == None))  # noqa: E711 - each element
        if not len(places):
            return
        lines = pa.Table.from_batches([batch.select(["line", "format", "arrived_at"])]).take(pa.array(places))
        pieces = lines.combine_chunks().to_batches()
        at = 0
        for parsed in parse_batches(pieces, format=format, earliest=EARLIEST, drop_repeats=True):
            theirs = self.users.of_users(source, parsed.column("user_id"))
            refused = pc.is_valid(parsed.column("reason")).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(refused & (theirs == None)).tolist():  # noqa: E711
                text = parsed.column("line")[row].as_py().decode("utf-8", "replace")
                theirs[row] = self.users.in_text(source, text)
            found[places[at : at + len(theirs)]] = theirs
            at += len(theirs)


def lines_of_users(raw: DataFrame, users: Suppressed, replays: Sequence[tuple[str, int, int, str]] = ()) -> DataFrame:
    """PLACE and `user_hmac` of the rows of RAW_LOG whose lines concern these users. `replays`: the formats by which
    replays read them.
    """
    return raw.select(*_READ).mapInArrow(LinesOfUsers(users, tuple(replays)).places, _PLACE_TYPES)


def suppressed_of(lake: Lake, source: str) -> Suppressed | None:
    """The forgotten users of the source; None if there are none."""
    users = suppressed_in(lake)
    return users.of([source]) if users is not None and source in users.digests else None


def lines_of_others(rows: DataFrame, users: Suppressed) -> DataFrame:
    """Rows for RAW_LOG without the lines of these users."""
    return rows.mapInArrow(LinesOfUsers(users).others, rows.schema)


def _equal(batch: pa.RecordBatch, column: str, value: str) -> Any:
    return np.asarray(pc.fill_null(pc.equal(batch.column(column), value), False))


def rejects_of_users(rejects: DataFrame, users: Suppressed) -> DataFrame:
    """PLACE and `user_hmac` of the rows of REJECTS whose text holds an id of these users."""

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = zip(batch.column("source").to_pylist(), batch.column("line").to_pylist(), strict=True)
            found = pa.array(
                [None if line is None else users.in_text(source, line) for source, line in pairs], pa.string()
            )
            columns = [*(batch.column(name) for name in PLACE), found]
            yield pa.RecordBatch.from_arrays(columns, [*PLACE, "user_hmac"]).filter(pc.is_valid(found))

    return rejects.where(F.col("line").isNotNull()).select(*PLACE, "line").mapInArrow(theirs, _PLACE_TYPES)
