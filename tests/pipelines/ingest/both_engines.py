"""Drawn lines of a log through linking and histories, on whichever engine runs this."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.engine.scratch import scratch
from pipelines.histories import with_history
from pipelines.ingest.resolve.dedupe import linked_impressions
from pipelines.ingest.resolve.histories import (
    distinct_histories,
    history_changes,
    history_offsets,
    placed_histories,
    with_offset,
)
from pipelines.ingest.resolve.observations import keyed_lines, per_observation, usable

_PARSED = (
    "reason string, file string, position long, line binary, user_id string, impression_id string, seconds double, "
    "history array<string>, shown array<string>, clicked_ids array<string>, repeated_news boolean"
)
ids = st.sampled_from(["n1", "n2", "n12", "é", "!", "日本"])
lists = st.lists(ids, max_size=5)
# Seconds: one second and its fractions, within 24 h, just within, just beyond, before 1970.
times = st.sampled_from([0.0, 0.000001, 0.9, 86_400.0, 86_400.5, 86_401.0, 172_800.0, -3.25, 1_772_442_931.123456])


@st.composite
def usable_line(draw: st.DrawFn) -> list[Any]:
    """One usable line, as parsing returns it."""
    shown = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    clicked = draw(st.sampled_from([None, [], shown[:1], shown]))
    user, name = draw(st.sampled_from(["u1", "ü2"])), draw(st.sampled_from(["1", "2", "10"]))
    return [None, "f", 0, "", user, name, draw(times), draw(lists), shown, clicked, draw(st.booleans())]


def made_of(spark: SparkSession, lines: Sequence[Sequence[Any]]) -> dict[str, list[str]]:
    """Each table that the lines become: its rows as texts, sorted, with the types of its columns."""
    rows = [(*line[:3], bytearray(line[3].encode()), *line[4:]) for line in lines]
    parsed = spark.createDataFrame(rows, _PARSED)
    parsed = parsed.withColumn("time", F.timestamp_micros((F.col("seconds") * 1_000_000).cast("long")))
    with scratch() as keep:
        observed = keep(usable(keyed_lines(parsed)))
        found = keep(placed_histories(distinct_histories(observed), None))
        changes, offsets = history_changes(found), history_offsets(found)
        observations = per_observation(with_offset(observed, offsets))
        linked = keep(linked_impressions(observations, None, batch=1)).withColumn("source", F.lit("p"))
        histories = changes.withColumn("source", F.lit("p"))
        tables = {
            "observations": observed,
            "histories": changes.select("user_id", "sequence_hash", "clicks"),
            "offsets": offsets,
            "impressions": linked,
            "restored": with_history(linked, histories).select("impression_id", "user_id", "time", "history"),
        }
        return {name: _as_texts(frame) for name, frame in tables.items()}


def _as_texts(frame: DataFrame) -> list[str]:
    # Times as numbers: the driver converts them by its own zone.
    names = [
        F.unix_micros(name).alias(name) if kind == "timestamp" else F.col(name)
        for name, kind in frame.dtypes
        if kind != "array<timestamp>"
    ]
    kinds = [f"{name} {kind}" for name, kind in frame.dtypes]
    return [*kinds, *sorted(repr(tuple(row)) for row in frame.select(*names).collect())]


def main(engine: str, drawn: str, out: str) -> None:
    """In a process of its own, for no other session may be in one with Spark's: lines from one file, what an engine
    makes of them into another.
    """
    if engine == "spark":
        from pipelines.engine.local_spark import build_session

        spark = build_session("both engines")
    else:
        from pipelines.engine.embedded import embedded_session

        spark = embedded_session()
    Path(out).write_text(json.dumps([made_of(spark, lines) for lines in json.loads(Path(drawn).read_text())]))


if __name__ == "__main__":
    main(*sys.argv[1:])
