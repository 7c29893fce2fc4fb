"""Draws negatives for clicks of logs that show only clicked news, from the earlier clicks of other users that day.

A draw takes news in proportion to clicks^.75, counted on the UTC date of the click and before its time: no later click
changes it. The k-th click on a news that day weighs k^.75 - (k-1)^.75, so that the weights of the clicks before any
moment sum to clicks^.75, and one sorted list of a day's clicks serves all its moments.
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
_STRIDE = 0x9E3779B97F4A7C15  # splitmix64's: the distance between the numbers of one coin
_NO_ROW = -1  # if no news was clicked before
_KEY = ("day", "at", "coin")
_DRAWS = "day date, at long, coin long, drawn_row array<int>"
_WINDOW = ("user_id", "window", "source", "begin")  # Spark sorts groups by a prefix: the most selective column first

IntArray = NDArray[np.int64]


def clicks_of_days(views: DataFrame) -> DataFrame:
    """(day, at, row) of every logged click; `at` in microseconds."""
    each = views.select("time", F.explode("click_row").alias("row"))
    return each.select(F.to_date("time").alias("day"), F.unix_micros("time").alias("at"), "row")


def with_negatives_of_day(
    windows: DataFrame, clicks: DataFrame, *, candidates: int, seed: int, begin: datetime | None = None
) -> DataFrame:
    """The windows with candidates for each logged click: the clicked news, and news that its user never clicked.

    `clicks` are from `clicks_of_days`. A draw depends on seed, position, news and time, not on the user. A click before
    `begin` is context only, and so is a click before any other user's click on other news that day.
    """
    own = F.flatten(F.collect_list("events.row").over(Window.partitionBy("user_id", "source")))
    each = windows.select(*_WINDOW, own.alias("own"), F.explode("events").alias("event"))
    late = F.lit(True) if begin is None else F.col("event.time") >= F.lit(begin)
    coin = F.xxhash64(F.lit(seed).cast("long"), "event.position", "event.row")
    drawn = with_drawn_rows(
        each, clicks, F.when(F.col("event.logged") & late, F.col("event.time")), coin, count=candidates - 1
    )
    no_rows = F.array().cast("array<int>")
    candidate = F.when(F.size("drawn_row") > 0, F.concat(F.array("event.row"), "drawn_row")).otherwise(no_rows)
    listed = F.when(F.col("event.logged"), candidate).otherwise(F.col("event.candidate_row"))
    events = F.sort_array(F.collect_list(F.col("event").withField("candidate_row", listed))).alias("events")
    return drawn.groupBy(*_WINDOW).agg(events)


def with_drawn_rows(asking: DataFrame, clicks: DataFrame, time: Column, coin: Column, *, count: int) -> DataFrame:
    """Adds `drawn_row`: up to `count` distinct rows clicked on the day of `time` and before it, none of `own`.

    Draws more rows than needed, because `own` and repeated rows are dropped. Empty if `time` is null.
    """
    taken = 4 * count + 16

    def draw(asked: pd.DataFrame, clicked: pd.DataFrame) -> pd.DataFrame:
        at_T, row_T = (clicked[name].to_numpy(np.int64) for name in ("at", "row"))
        at_E, coin_E = (asked[name].to_numpy(np.int64) for name in ("at", "coin"))
        step = max(1, _DRAWS_AT_ONCE // taken)
        parts = [
            draw_earlier_clicks((at_T, row_T), (at_E[n : n + step], coin_E[n : n + step]), taken=taken)
            for n in range(0, len(at_E), step)
        ]
        drawn = np.concatenate([np.zeros((0, taken), np.int64), *parts])
        return asked[[*_KEY]].assign(drawn_row=pd.Series(list(drawn.astype(np.int32)), asked.index, object))

    keyed = asking.withColumns({"day": F.to_date(time), "at": F.unix_micros(time), "coin": coin})
    asked = keyed.where("at IS NOT NULL").select(*_KEY).distinct()
    draws = asked.groupBy("day").cogroup(clicks.groupBy("day")).applyInPandas(draw, _DRAWS)
    no_row = F.array(F.lit(_NO_ROW)).cast("array<int>")
    found = F.slice(F.array_except("drawn_row", F.concat("own", no_row)), 1, count)
    joined = keyed.join(draws, [*_KEY], how="left")  # draws are unique by key: the join adds no rows
    return joined.withColumn("drawn_row", F.coalesce(found, F.array().cast("array<int>"))).drop(*_KEY)


def draw_earlier_clicks(clicks: tuple[IntArray, IntArray], asked: tuple[IntArray, IntArray], *, taken: int) -> IntArray:
    """Rows (E, taken): for each (time, coin) of `asked`, drawn from the earlier clicks (time, row); -1 without any."""
    at_T, row_T = clicks
    order = np.lexsort((row_T, at_T))
    at_T, row_T = at_T[order], row_T[order]
    weight_T = np.cumsum(_weights(row_T))
    at_E, coin_E = asked
    known_E = np.searchsorted(at_T, at_E, "left")
    total_E = np.where(known_E > 0, weight_T[known_E - 1], 0.0)
    share = _uniform(coin_E, taken) * total_E[:, None]
    place = np.minimum(np.searchsorted(weight_T, share, "right"), np.maximum(known_E, 1)[:, None] - 1)
    return np.where(known_E[:, None] > 0, row_T[place], _NO_ROW)


def _weights(row_T: IntArray) -> NDArray[np.float64]:
    """The increase of its news' clicks^.75 by each click."""
    by_row = np.argsort(row_T, kind="stable")
    _, start, count = np.unique(row_T[by_row], return_index=True, return_counts=True)
    earlier_T = np.empty(len(row_T))
    earlier_T[by_row] = np.arange(len(row_T)) - np.repeat(start, count)
    return (earlier_T + 1) ** _POWER - earlier_T**_POWER


def _uniform(coin_E: IntArray, taken: int) -> NDArray[np.float64]:
    """Uniform numbers from 0 to 1, (E, taken): splitmix64 seeded with each coin."""
    with np.errstate(over="ignore"):
        mixed = coin_E.astype(np.uint64)[:, None] + np.arange(1, taken + 1, dtype=np.uint64) * np.uint64(_STRIDE)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53, np.float64)
