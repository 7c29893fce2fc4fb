"""Applies the rules for a line's fields, all lines of a batch at once, and gives each line at most one reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.ids import faults_of_ids, faults_of_lists
from pipelines.ingest.parse.text_lists import Bools, Ints, as_numpy, concatenated, is_null, lengths
from schemas.raw_log import REJECT_REASONS

# Fields.flags of a line: faults that its reader found and that its fields alone no longer show.
NOT_JSON, DUPLICATE, COLUMNS, NO_ID, HALF_PAIR, MARKS, NO_CLICK = (1 << bit for bit in range(7))
_CODES = {name: code for code, name in enumerate(REJECT_REASONS)}
_NONE = len(_CODES)
_DAY_MICROS = 24 * 3600 * 10**6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of the lines of a batch, one row each; all null for a line that could not be read."""

    impression_id: pa.Array
    user_id: pa.Array
    time_text: pa.Array
    history: pa.Array
    shown: pa.Array
    clicked: pa.Array  # null: unlabelled
    flags: Any  # uint8
    extra: dict[str, pa.Array] = field(default_factory=dict)

    def arrays(self) -> dict[str, pa.Array]:
        """Every field but `flags` and `extra`."""
        names = ("impression_id", "user_id", "time_text", "history", "shown", "clicked")
        return {name: getattr(self, name) for name in names}

    def flagged(self, flag: int, rows: Bools) -> Fields:
        """A copy with a flag set in some rows."""
        return replace(self, flags=self.flags | (rows * np.uint8(flag)))


def with_rows(fields: Fields, others: Fields, rows: Ints) -> Fields:
    """The fields, with these rows replaced by those of `others`."""
    order = np.arange(len(fields.flags))
    order[rows] = len(order) + np.arange(len(rows))
    arrays, other = fields.arrays(), others.arrays()
    flags = fields.flags.copy()
    flags[rows] = others.flags
    extra = {name: concatenated([array, others.extra[name]], order) for name, array in fields.extra.items()}
    return Fields(
        **{name: concatenated([arrays[name], other[name]], order) for name in arrays}, flags=flags, extra=extra
    )


def first_broken(fields: Fields, time: pa.Array, not_shown: Bools, arrived_at: pa.Array, earliest: date) -> Ints:
    """The code of each line's reason, for `reasons`. `not_shown`: lines with a clicked news that is not shown."""
    ids = [faults_of_ids(fields.impression_id), faults_of_ids(fields.user_id)]
    lists = [faults_of_lists(fields.history), faults_of_lists(fields.shown)]
    clicked = faults_of_lists(fields.clicked)
    blank = as_numpy(pc.equal(pc.utf8_trim(fields.time_text, " "), ""), True)
    absent = blank | is_null(fields.history) | is_null(fields.shown) | _has(fields, NO_ID)
    broken = {
        "not_json": _has(fields, NOT_JSON),
        "duplicate_field": _has(fields, DUPLICATE),
        "wrong_column_count": _has(fields, COLUMNS),
        "missing_field": np.logical_or.reduce([absent, *(fault.none for fault in (*ids, *lists))]),
        "bad_id": np.logical_or.reduce([_has(fields, HALF_PAIR), *(f.bad for f in (*ids, *lists, clicked))]),
        "bad_time": ~_possible(time, arrived_at, earliest),
        "nothing_shown": lengths(fields.shown) == 0,
        "bad_click_mark": _has(fields, MARKS | NO_CLICK) | clicked.none,
        "clicked_not_shown": not_shown,
    }
    codes = np.full(len(time), _NONE)
    for name, rows in reversed(broken.items()):
        codes[rows] = _CODES[name]
    return codes


def reasons(codes: Ints, others: dict[int, str]) -> pa.Array:
    """The reason of each line, null if it is usable; `others`: rows whose reason was known before."""
    found = pa.array([*REJECT_REASONS, None], pa.string()).take(pa.array(codes))
    if not others:
        return found
    return concatenated([found, pa.array(list(others.values()), pa.string())], _order(len(codes), list(others)))


def _possible(time: pa.Array, arrived_at: pa.Array, earliest: date) -> Bools:
    first = (datetime(earliest.year, earliest.month, earliest.day, tzinfo=UTC) - _EPOCH).total_seconds() * 1e6
    arrived = arrived_at.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    known = ~is_null(time) & ~is_null(arrived)
    at, latest = as_numpy(time, 0), as_numpy(arrived, 0) + _DAY_MICROS
    found: Bools = known & (at >= int(first)) & (at <= latest)
    return found


def _has(fields: Fields, flag: int) -> Bools:
    found: Bools = (fields.flags & flag) != 0
    return found


def _order(count: int, rows: list[int]) -> Ints:
    order = np.arange(count)
    order[rows] = count + np.arange(len(rows))
    return order
