"""Selects the news that may be recommended by when they were shown, read from a lake without Spark."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.storage.place import Place
from trainer.eval.lake_rows import query, quoted
from trainer.serve.opened_export import Export

IntArray = NDArray[np.int64]


def pool_of(export: Export, lake: Path | Place | None, *, newer_than: str | None, day: date | None) -> IntArray | None:
    """The item rows that may be recommended, ascending: new since a moment, shown on a day, or both; None: all."""
    if newer_than is None and day is None:
        return None
    if lake is None:
        raise InputError("--newer-than and --shown-on need --lake, whose impressions hold when news were shown")
    pool = np.asarray(export.news["item_row"], np.int64)
    if day is not None:
        pool = np.intersect1d(pool, shown_on(export, lake, day))
    if newer_than is not None:
        pool = np.intersect1d(pool, new_since(export, lake, moment_of(newer_than)))
    return pool


def shown_on(export: Export, lake: Path | Place, day: date) -> IntArray:
    """Item rows, ascending, of the news shown to any user on a UTC date: the pool of `evaluate`'s recall.

    InputError if the source's logs show no news of the export on that date.
    """
    sql = f"SELECT DISTINCT unnest(shown) AS id FROM it WHERE {_of(export)} AND date = DATE '{day.isoformat()}'"
    ids = query(lake / IMPRESSIONS.name, sql, {"id": pa.string()})["id"].to_pylist()
    return _not_empty(_rows(export, ids), f"on {day}", export, lake)


def new_since(export: Export, lake: Path | Place, moment: datetime) -> IntArray:
    """Item rows, ascending, of the news first shown to any user at `moment` or later, under any id of the text.

    News never shown are not among them: the lake does not hold when they appeared. InputError if none is left.
    """
    sql = (
        "SELECT id, min(time) AS first FROM (SELECT unnest(shown) AS id, time FROM it "
        f"WHERE {_of(export)}) AS shown GROUP BY id"
    )
    found = query(lake / IMPRESSIONS.name, sql, {"id": pa.string(), "first": pa.timestamp("us", "UTC")})
    first_of = dict(zip(found["id"].to_pylist(), found["first"].cast(pa.int64()).to_pylist(), strict=True))
    never = np.iinfo(np.int64).min  # earlier than any moment
    first_N = np.array([first_of.get(news, never) for news in export.news["news_id"].tolist()], np.int64)
    _, text_N = np.unique(export.news["canonical_row"], return_inverse=True)
    earliest_T = np.full(text_N.max(initial=-1) + 1, np.iinfo(np.int64).max)
    shown_N = first_N != never
    np.minimum.at(earliest_T, text_N[shown_N], first_N[shown_N])
    wanted_N = shown_N & (earliest_T[text_N] >= int(moment.timestamp() * 1_000_000))
    return _not_empty(export.news["item_row"][wanted_N], f"from {moment.isoformat()} on", export, lake)


def moment_of(text: str) -> datetime:
    """A UTC date or an ISO time as a moment; InputError if it is neither. A time without an offset is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time: write a UTC date or time such as 2019-11-13T06:00") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _of(export: Export) -> str:
    return f"source = {quoted(export.record.source)}"


def _rows(export: Export, ids: list[str]) -> IntArray:
    known = np.isin(export.news["news_id"], np.array(ids, object))
    return np.asarray(export.news["item_row"][known], np.int64)


def _not_empty(rows: IntArray, when: str, export: Export, lake: Path | Place) -> IntArray:
    if not len(rows):
        raise InputError(
            f"{lake}: the logs of source {export.record.source} show no news of the export {when}. "
            "Name another day or an earlier time, or export again if these news are newer than the export"
        )
    return np.asarray(rows, np.int64)
