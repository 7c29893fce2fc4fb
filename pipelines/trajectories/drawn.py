"""Drawn: negatives of history clicks, which no impression of the log showed, from what users clicked in training."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_POWER, _UNITS = 0.75, 1000  # weight of a news, in whole thousandths: sums do not depend on the order of rows
_CELLS = 1 << 20
_UPPER = -1 << 32  # the upper half of a long
_WINDOW = ("user_id", "window", "source", "begin")  # the telling one first: Spark sorts groups by a prefix of it


def popularity(views: DataFrame) -> DataFrame:
    """(row, clicks) of all news clicked in these views: each user's history counts once, as the views tell it once."""
    clicked = views.select(F.explode(F.concat("history_row", "click_row")).alias("row"))
    return clicked.groupBy("row").agg(F.count("*").alias("clicks"))


def line_of(clicks: DataFrame, *, taken: int, seed: int) -> DataFrame:
    """One row, `line`: about a million cells in random order, of which each news owns its share of clicks^.75.

    Shares are rounded up or down at random, so that also a news with less than a cell has its chance. The line begins
    anew at its end, so that `taken` cells can be taken from anywhere.
    """
    weight = (F.pow("clicks", F.lit(_POWER)) * _UNITS).cast("long")
    weighed = clicks.withColumn("weight", weight)
    share = F.col("weight") / weighed.agg(F.sum("weight")).scalar()
    rounding = F.shiftrightunsigned(_hash(seed, F.col("row")), 11) * F.lit(2.0**-53)
    owned = weighed.withColumn("cells", F.floor(share * _CELLS + rounding).cast("int")).where("cells > 0")
    cells = owned.select("row", F.explode(F.sequence(F.lit(1), F.col("cells"))).alias("number"))
    hashed = _hash(seed, F.col("row"), F.col("number"))
    place = hashed.bitwiseAND(_UPPER) + F.col("row")  # sorts at random, and tells the row
    shuffled = cells.agg(F.sort_array(F.collect_list(place)).alias("places"))
    whole = shuffled.select(F.transform("places", lambda place: place.bitwiseAND(~_UPPER).cast("int")).alias("line"))
    again = F.slice(F.flatten(F.array_repeat(F.slice("line", 1, taken), taken)), 1, taken)
    return whole.select(F.concat("line", again).alias("line"))


def with_drawn(
    windows: DataFrame, clicks: DataFrame, *, candidates: int, seed: int, begin: datetime | None = None
) -> DataFrame:
    """The windows, in which each history click has candidates: itself, and others that the window does not hold.

    A click takes the cells that follow a place given by (seed, position, clicked news), not by user: more than needed,
    for the window's own clicks and repeated news among them do not count. Where too few are left (a catalogue hardly
    larger than the window) it has fewer candidates, and with none it is context only. So is a history that was told
    before `begin`; windows that hold nothing later are left out.
    """
    late = F.lit(True) if begin is None else F.col("event.time") >= F.lit(begin)
    if begin is not None:
        windows = windows.where(F.array_max("events.time") >= F.lit(begin))
    taken = 8 * (candidates - 1) + 16
    line = line_of(clicks, taken=taken, seed=seed)
    each = windows.select(*_WINDOW, F.explode("events").alias("event"), F.col("events.row").alias("own"))
    # A scalar, not a join: one array for all rows, which are spared a copy of it each.
    placed = each.withColumn("line", line.scalar()).withColumn("cells", F.size("line") - taken)
    start = F.pmod(_hash(seed, F.col("event.position"), F.col("event.row")), F.col("cells")).cast("int") + 1
    others = F.slice(F.array_except(F.slice("line", start, taken), "own"), 1, candidates - 1)
    found = placed.withColumn("others", others).drop("line", "own")
    beside = F.when(F.size("others") > 0, F.concat(F.array("event.row"), "others"))
    listed = F.when(F.col("event.logged") | beside.isNull() | ~late, F.col("event.candidate_row")).otherwise(beside)
    events = F.sort_array(F.collect_list(F.col("event").withField("candidate_row", listed))).alias("events")
    return found.groupBy(*_WINDOW).agg(events)


def _hash(seed: int, *parts: Column) -> Column:
    return F.xxhash64(F.lit(seed).cast("long"), *parts)
