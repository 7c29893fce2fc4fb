"""Lines of users who were forgotten: found by parsing them as ingest does, and by their text where they are refused."""

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
    """In a task: which rows of RAW_LOG have lines that tell of such a user."""

    who: Suppressed
    again: tuple[tuple[str, int, int, str], ...] = ()  # source, first and last batch, format of a replay

    def places(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """PLACE of these rows, and the user's hash."""
        for batch in batches:
            found = self.of(batch)
            columns = [*(batch.column(name) for name in PLACE), pa.array(found.tolist(), pa.string())]
            rows = pa.RecordBatch.from_arrays(columns, [*PLACE, "user_hmac"])
            yield rows.filter(pc.is_valid(columns[-1]))

    def others(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The other rows, as they are."""
        for batch in batches:
            yield batch.filter(pc.is_null(pa.array(self.of(batch).tolist(), pa.string())))

    def of(self, batch: pa.RecordBatch) -> Any:
        """Of each row the hash of the user, or None: an array of objects."""
        found = np.full(batch.num_rows, None, object)
        for source in batch.column("source").unique().to_pylist():
            ours = _equal(batch, "source", source)
            for format in batch.column("format").unique().to_pylist():
                if format != WITHHELD:  # of which nothing is kept but its HMAC
                    self._look(batch, ours & _equal(batch, "format", format), source, format, found)
            for name, first, last, format in self.again:
                if name == source:
                    number = batch.column("batch").to_numpy(zero_copy_only=False)
                    inside = ours & (number >= first) & (number <= last) & ~_equal(batch, "format", WITHHELD)
                    self._look(batch, inside, source, format, found)
        return found

    def _look(self, batch: pa.RecordBatch, wanted: Any, source: str, format: str, found: Any) -> None:
        """Mark the rows that are theirs, of those that are wanted and are read by this format."""
        places = np.flatnonzero(wanted & (found == None))  # noqa: E711 - each element
        if not len(places):
            return
        lines = pa.Table.from_batches([batch.select(["line", "format", "arrived_at"])]).take(pa.array(places))
        pieces = lines.combine_chunks().to_batches()
        at = 0
        for parsed in parse_batches(pieces, format=format, earliest=EARLIEST, once=True):
            theirs = self.who.of_users(source, parsed.column("user_id"))
            refused = pc.is_valid(parsed.column("reason")).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(refused & (theirs == None)).tolist():  # noqa: E711
                text = parsed.column("line")[row].as_py().decode("utf-8", "replace")
                theirs[row] = self.who.in_text(source, text)
            found[places[at : at + len(theirs)]] = theirs
            at += len(theirs)


def lines_of_users(raw: DataFrame, who: Suppressed, again: Sequence[tuple[str, int, int, str]] = ()) -> DataFrame:
    """PLACE of the rows of RAW_LOG whose lines tell of such users, and `user_hmac`. `again`: formats by which replays
    read them.
    """
    return raw.select(*_READ).mapInArrow(LinesOfUsers(who, tuple(again)).places, _PLACE_TYPES)


def suppressed_of(lake: Lake, source: str) -> Suppressed | None:
    """The users of the source who were forgotten; None where nobody was."""
    who = suppressed_in(lake)
    return who.of([source]) if who is not None and source in who.digests else None


def lines_of_others(rows: DataFrame, who: Suppressed) -> DataFrame:
    """Rows for RAW_LOG less the lines of these users."""
    return rows.mapInArrow(LinesOfUsers(who).others, rows.schema)


def _equal(batch: pa.RecordBatch, column: str, value: str) -> Any:
    return np.asarray(pc.fill_null(pc.equal(batch.column(column), value), False))


def rejects_of_users(rejects: DataFrame, who: Suppressed) -> DataFrame:
    """PLACE of the rows of REJECTS in whose text an id of such users stands, and `user_hmac`."""

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = zip(batch.column("source").to_pylist(), batch.column("line").to_pylist(), strict=True)
            found = pa.array(
                [None if line is None else who.in_text(source, line) for source, line in pairs], pa.string()
            )
            columns = [*(batch.column(name) for name in PLACE), found]
            yield pa.RecordBatch.from_arrays(columns, [*PLACE, "user_hmac"]).filter(pc.is_valid(found))

    return rejects.where(F.col("line").isNotNull()).select(*PLACE, "line").mapInArrow(theirs, _PLACE_TYPES)
