"""Of the day: negatives of clicks beside which no other news was shown, from what others had clicked that day by then.

A draw takes news in proportion to clicks^.75, counted on the UTC date of the click and before its moment: nothing that
others do later changes it. The weight of a news' k-th click of the day is k^.75 - (k-1)^.75, so that the clicks before
any moment weigh together what the rule says, and one ordered list of a day's clicks serves all its moments.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

_POWER = 0.75
_DRAWS_AT_ONCE = 1 << 22  # bounds a task's memory, not the result
_STRIDE = 0x9E3779B97F4A7C15  # splitmix64's: the numbers of one coin lie far apart
_NOTHING = -1  # in place of a row where none was clicked before
_KEY = ("day", "at", "coin")
_DRAWS = "day date, at long, coin long, drawn_row array<int>"
_WINDOW = ("user_id", "window", "source", "begin")  # Spark sorts groups by a prefix of it: the most telling first

IntArray = NDArray[np.int64]


def clicks_of_days(views: DataFrame) -> DataFrame:
    """(day, at, row) of every logged click; `at` in microseconds."""
    each = views.select("time", F.explode("click_row").alias("row"))
    return each.select(F.to_date("time").alias("day"), F.unix_micros("time").alias("at"), "row")


def with_negatives_of_day(
    windows: DataFrame, clicks: DataFrame, *, candidates: int, seed: int, begin: datetime | None = None
) -> DataFrame:
    """The windows, in which each logged click has candidates: itself, and others that its user never clicked.

    `clicks` are those of `clicks_of_days`. A draw depends on seed, position, news and moment, not on the user. A click
    before `begin` is context only, and so is one before which nobody else had clicked other news that day.
    """
    own = F.flatten(F.collect_list("events.row").over(Window.partitionBy("user_id", "source")))
    each = windows.select(*_WINDOW, own.alias("own"), F.explode("events").alias("event"))
    late = F.lit(True) if begin is None else F.col("event.time") >= F.lit(begin)
    coin = F.xxhash64(F.lit(seed).cast("long"), "event.position", "event.row")
    drawn = with_drawn_rows(
        each, clicks, F.when(F.col("event.logged") & late, F.col("event.time")), coin, count=candidates - 1
    )
    nothing = F.array().cast("array<int>")
    beside = F.when(F.size("drawn_row") > 0, F.concat(F.array("event.row"), "drawn_row")).otherwise(nothing)
    listed = F.when(F.col("event.logged"), beside).otherwise(F.col("event.candidate_row"))
    events = F.sort_array(F.collect_list(F.col("event").withField("candidate_row", listed))).alias("events")
    return drawn.groupBy(*_WINDOW).agg(events)


def with_drawn_rows(asking: DataFrame, clicks: DataFrame, time: Column, coin: Column, *, count: int) -> DataFrame:
    """Adds `drawn_row`: up to `count` distinct rows clicked on the day of `time` and before it, none of `own`.

    More are drawn than needed, for own and repeated ones do not count. None where `time` is null.
    """
    taken = 4 * count + 16

    def draw(asked: pd.DataFrame, clicked: pd.DataFrame) -> pd.DataFrame:
        at_T, row_T = (clicked[name].to_numpy(np.int64) for name in ("at", "row"))
        at_E, coin_E = (asked[name].to_numpy(np.int64) for name in ("at", "coin"))
        step = max(1, _DRAWS_AT_ONCE // taken)
        parts = [
            draws_of((at_T, row_T), (at_E[n : n + step], coin_E[n : n + step]), taken=taken)
            for n in range(0, len(at_E), step)
        ]
        drawn = np.concatenate([np.zeros((0, taken), np.int64), *parts])
        return asked[[*_KEY]].assign(drawn_row=pd.Series(list(drawn.astype(np.int32)), asked.index, object))

    keyed = asking.withColumns({"day": F.to_date(time), "at": F.unix_micros(time), "coin": coin})
    asked = keyed.where("at IS NOT NULL").select(*_KEY).distinct()
    draws = asked.groupBy("day").cogroup(clicks.groupBy("day")).applyInPandas(draw, _DRAWS)
    nothing = F.array(F.lit(_NOTHING)).cast("array<int>")
    found = F.slice(F.array_except("drawn_row", F.concat("own", nothing)), 1, count)
    joined = keyed.join(draws, [*_KEY], how="left")  # one row of draws for each key: none is added
    return joined.withColumn("drawn_row", F.coalesce(found, F.array().cast("array<int>"))).drop(*_KEY)


def draws_of(clicks: tuple[IntArray, IntArray], asked: tuple[IntArray, IntArray], *, taken: int) -> IntArray:
    """Rows (E, taken): for each asked (moment, coin), drawn from the clicks (moment, row) before; -1 without any."""
    at_T, row_T = clicks
    order = np.lexsort((row_T, at_T))
    at_T, row_T = at_T[order], row_T[order]
    weight_T = np.cumsum(_weights(row_T))
    at_E, coin_E = asked
    known_E = np.searchsorted(at_T, at_E, "left")
    total_E = np.where(known_E > 0, weight_T[known_E - 1], 0.0)
    share = _uniform(coin_E, taken) * total_E[:, None]
    place = np.minimum(np.searchsorted(weight_T, share, "right"), np.maximum(known_E, 1)[:, None] - 1)
    return np.where(known_E[:, None] > 0, row_T[place], _NOTHING)


def _weights(row_T: IntArray) -> NDArray[np.float64]:
    """Of each click what it adds to its news' clicks^.75."""
    by_row = np.argsort(row_T, kind="stable")
    _, start, count = np.unique(row_T[by_row], return_index=True, return_counts=True)
    earlier_T = np.empty(len(row_T))
    earlier_T[by_row] = np.arange(len(row_T)) - np.repeat(start, count)
    return (earlier_T + 1) ** _POWER - earlier_T**_POWER


def _uniform(coin_E: IntArray, taken: int) -> NDArray[np.float64]:
    """Numbers from 0 to 1, (E, taken): splitmix64 begun at each coin."""
    with np.errstate(over="ignore"):
        mixed = coin_E.astype(np.uint64)[:, None] + np.arange(1, taken + 1, dtype=np.uint64) * np.uint64(_STRIDE)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53, np.float64)
