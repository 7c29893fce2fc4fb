"""Decides when the evaluation begins: at a given time, at a date, or so that a share of the impressions remains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.lake.versions import moment_of
from schemas.errors import InputError

By = Literal["evaluate_from", "to", "last_date", "share"]

DEFAULT_SHARE = 0.2  # of the labelled impressions, if all are of one date


@dataclass(frozen=True, slots=True)
class EvaluationBegin:
    """When the evaluation begins, and the rule that decided it."""

    at: datetime
    by: By
    share: float | None = None
    """the requested share of the labelled impressions, or the default if all are of one date"""

    def __str__(self) -> str:
        """A UTC date if it is the start of one, else a time; `--evaluate-from` takes both forms."""
        at = self.at.astimezone(UTC)
        return str(at.date()) if at == start_of(at.date()) else at.isoformat().replace("+00:00", "Z")


def labelled_of(impressions: DataFrame) -> DataFrame:
    """The impressions with click marks."""
    return impressions.where(F.col("clicked").isNotNull())


def evaluation_begin(
    labelled: DataFrame,
    *,
    asked: str | None = None,
    share: float | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
    source: str,
) -> EvaluationBegin:
    """The requested time, or the first date from `end` on, or the last date with labels.

    With a `share`, or if all labels from `begin` on are of one date, the latest impressions are evaluated: from the
    latest second from which at least that share of them remains. Impressions of one second are on one side.
    """
    if asked is not None:
        return EvaluationBegin(_requested_time(asked, end), "evaluate_from")
    if end is not None:
        return EvaluationBegin(
            start_of((end - timedelta(microseconds=1)).astimezone(UTC).date() + timedelta(days=1)), "to"
        )
    recent = F.lit(True) if begin is None else F.col("time") >= F.lit(begin)
    first, last = labelled.agg(F.min(F.when(recent, F.col("date"))), F.max("date")).collect()[0]
    if last is None:
        raise InputError(
            f"source {source!r}: no impression has click marks, so there is nothing to learn from. "
            "Ingest logs with clicks, or name another --source"
        )
    if first is None or (share is None and first != last):
        return EvaluationBegin(start_of(last), "last_date")
    share = DEFAULT_SHARE if share is None else share
    return EvaluationBegin(_start_of_share(labelled.where(recent), share, source), "share", share)


def start_of(day: date) -> datetime:
    """The first moment of a UTC date."""
    return datetime.combine(day, time.min, UTC)


def _requested_time(asked: str, end: datetime | None) -> datetime:
    found = moment_of(asked)
    if found is None:
        raise InputError(f"evaluate_from is {asked!r}: write a UTC date or time such as 2019-11-13 or 2019-11-13T18:00")
    if end is not None and found < end:
        raise InputError(
            f"evaluate_from is {asked}, before --to {end.isoformat()}: training data would be evaluated. "
            "Leave --evaluate-from out, or set a later one"
        )
    return found


def _start_of_share(labelled: DataFrame, share: float, source: str) -> datetime:
    dates = _counts(labelled, F.col("date"))
    wanted = max(1, math.ceil(share * sum(count for _, count in dates)))
    after, day = 0, 0
    while after + dates[day][1] < wanted:
        after, day = after + dates[day][1], day + 1
    seconds = _counts(labelled.where(F.col("date") == F.lit(dates[day][0])), F.unix_seconds("time"))
    place = 0
    while after + seconds[place][1] < wanted:
        after, place = after + seconds[place][1], place + 1
    if (
        day == len(dates) - 1 and place == len(seconds) - 1
    ):  # the log's first second: begin one later, so that some impressions train
        if place:
            place -= 1
        elif day:
            return start_of(dates[day - 1][0])
        else:
            raise InputError(
                f"source {source!r}: all impressions with click marks are of one second, {_moment(seconds[0][0])}, so "
                "none is earlier than another. Ingest logs of a longer period, with the time of each impression"
            )
    return _moment(seconds[place][0])


def _counts(frame: DataFrame, key: Column) -> list[tuple[Any, int]]:
    """(key, number of rows), highest key first."""
    counted = frame.groupBy(key.alias("key")).count().orderBy(F.desc("key"))
    return [(row["key"], row["count"]) for row in counted.collect()]


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
