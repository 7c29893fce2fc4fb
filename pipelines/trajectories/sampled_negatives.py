"""Draws negatives for history clicks, which no impression of the log shows, from the clicks of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, IntegerType, StructField, StructType

_UNITS = 1000  # weights are integers, in thousandths, so that sums do not depend on the order of rows
_CELLS = 1 << 20
_UPPER = -1 << 32  # the upper half of a long
_WINDOW = ("user_id", "window", "source", "begin")
_DRAWN = ArrayType(ArrayType(IntegerType()))

IntArray = NDArray[np.integer[Any]]


def popularity(views: DataFrame) -> DataFrame:
    """(row, clicks) of all news clicked in these views. Each user's history counts once: one view holds it."""
    clicked = views.select(F.explode(F.concat("history_row", "click_row")).alias("row"))
    return clicked.groupBy("row").agg(F.count("*").alias("clicks"))


def popularity_cells(clicks: DataFrame, *, taken: int, seed: int) -> IntArray:
    """About a million cells in random order; each news owns its share of clicks^.75 of them. Takes 4 MB for any log.

    Shares are rounded up or down at random, so that a news with less than a cell has its chance. The first `taken`
    cells are repeated at the end, so that a draw of `taken` cells can start anywhere.
    """
    root = F.sqrt(F.col("clicks").cast("double"))
    weight = (root * F.sqrt(root) * _UNITS).cast("long")  # with roots: engines differ in the last bit of a power
    weighed = clicks.withColumn("weight", weight)
    share = F.col("weight") / weighed.agg(F.sum("weight")).scalar()
    rounding = F.shiftrightunsigned(_hash(seed, F.col("row")), 11) * F.lit(2.0**-53)
    owned = weighed.withColumn("cells", F.floor(share * _CELLS + rounding).cast("int")).where("cells > 0")
    cells = owned.select("row", F.explode(F.sequence(F.lit(1), F.col("cells"))).alias("number"))
    hashed = _hash(seed, F.col("row"), F.col("number"))
    place = hashed.bitwiseAND(_UPPER) + F.col("row")  # sorts at random and contains the row
    places = np.sort(cells.select(place.alias("place")).toArrow()["place"].to_numpy())
    cell_rows = (places & ~_UPPER).astype(np.int32)
    return np.concatenate([cell_rows, np.resize(cell_rows, taken)])


def with_drawn_negatives(
    windows: DataFrame, clicks: DataFrame, *, candidates: int, seed: int, begin: datetime | None = None
) -> DataFrame:
    """The windows with candidates for each history click: the clicked news, and news that the window does not hold.

    A click reads the cells after a place given by (seed, position, clicked news), not by user. It reads more than
    needed, because the window's own clicks and repeated news are skipped. If too few are left (a catalogue hardly
    larger than the window), it has fewer candidates; without any it is context only. So is a history logged before
    `begin`; windows with nothing later are dropped.
    """
    if begin is not None:
        windows = windows.where(F.array_max("events.time") >= F.lit(begin))
    taken = _taken(candidates - 1)
    cell_rows = popularity_cells(clicks, taken=taken, seed=seed)
    cells = F.lit(max(1, len(cell_rows) - taken)).cast("long")
    starts = F.transform("events", lambda event: F.pmod(_hash(seed, event["position"], event["row"]), cells))
    history = F.transform("events", lambda event: _is_asked(event, begin))
    asked = windows.select(*_WINDOW, "events", starts.alias("starts"), history.alias("asked"))

    def draw(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            lengths = batch["events"].value_lengths().to_numpy()
            cuts = np.cumsum(lengths)[:-1]
            rows = pc.struct_field(batch["events"].flatten(), "row")
            of_clicks = (rows, batch["starts"].flatten(), batch["asked"].flatten())
            windows = zip(*(np.split(each.to_numpy(zero_copy_only=False), cuts) for each in of_clicks), strict=True)
            drawn = [each for clicks in windows for each in draw_candidates(cell_rows, *clicks, most=candidates - 1)]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            lists = pa.ListArray.from_arrays(offsets, pa.array(drawn, pa.list_(pa.int32())))
            columns = [*(batch[name] for name in (*_WINDOW, "events")), lists]
            yield pa.RecordBatch.from_arrays(columns, [*_WINDOW, "events", "drawn"])

    schema = StructType([*asked.select(*_WINDOW, "events").schema, StructField("drawn", _DRAWN)])
    found = asked.mapInArrow(draw, schema)
    events = F.transform(
        "events",
        lambda event, at: event.withField("candidate_row", F.coalesce(F.get("drawn", at), event["candidate_row"])),
    )
    return found.select(*_WINDOW, events.alias("events"))


def draw_candidates(
    cell_rows: IntArray, row_L: IntArray, start_L: IntArray, asked_L: NDArray[np.bool_], *, most: int
) -> list[list[int] | None]:
    """For each asked click of a window, the clicked news and at most `most` drawn news; None without any.

    Drawn news come from the first cells after the click's start that hold none of the window's clicks.
    """
    own, taken, found = set(row_L.tolist()), _taken(most), list[list[int] | None]()
    for row, start, asked in zip(row_L.tolist(), start_L.tolist(), asked_L.tolist(), strict=True):
        others: dict[int, None] = {}
        for other in cell_rows[start : start + taken].tolist() if asked else ():
            if other not in own:
                others[other] = None
                if len(others) == most:
                    break
        found.append([row, *others] if others else None)
    return found


def _taken(most: int) -> int:
    return 8 * most + 16


def _is_asked(event: Column, begin: datetime | None) -> Column:
    late = F.lit(True) if begin is None else F.coalesce(event["time"] >= F.lit(begin), F.lit(False))
    return ~event["logged"] & late


def _hash(seed: int, *parts: Column) -> Column:
    return F.xxhash64(F.lit(seed).cast("long"), *parts)
