"""Fourth step of ingest: links the observations of one impression, by rules 2 and 3 of DESIGN §3 together.

- Rule 2, one id: observations of one user and impression id are linked while the gap between their times is at most
  24 h (ids are reused); a later line inside of a wider gap links both sides.
- Rule 3, one view: observations of one user, second and set of news are linked, whatever their ids (two collectors).

An impression is a connected component of both. Nearly every line is unlinked, so the few that share a key with another
one, of the batch or stored, are selected first, and only they are grouped, sorted and joined.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.engine.expressions import distinct_of
from pipelines.engine.key_filter import rows_with, rows_without
from pipelines.ingest.resolve.components import smallest_linked
from pipelines.ingest.resolve.observations import KEYS, link_keys, second_of

LINK_SECONDS = 24 * 3600


def with_keys(observations: DataFrame) -> DataFrame:
    """Adds KEYS, of which an observation shares one with every observation that it may be linked to."""
    keys = link_keys({name: F.col(name) for name in observations.columns})
    return observations.withColumns(dict(zip(KEYS, keys, strict=True)))


def counted_keys(observations: DataFrame) -> DataFrame:
    """Every `key` of the lines or observations, which have KEYS, with the `count` of the rows that have it."""
    return observations.select(F.explode(F.array(*KEYS)).alias("key")).groupBy("key").agg(F.count("*").alias("count"))


def met_keys(stored: DataFrame, keys: DataFrame) -> DataFrame:
    """(`row`, `key`) of stored observations, which have `row` and KEYS, for each key that is in `keys` too."""
    held = stored.select("row", F.explode(F.array(*KEYS)).alias("key"))
    return held.join(keys.select("key"), "key", how="left_semi")


def shared_keys(keys: DataFrame, met: DataFrame | None) -> DataFrame:
    """Keys (`key`) of incoming rows (`keys`, counted) that a second row has too, incoming or stored (`met`)."""
    shared = keys.where("count > 1").select("key")
    return shared if met is None else shared.unionByName(met.select("key")).distinct()


def keep_linked(rows: DataFrame, shared: DataFrame) -> DataFrame:
    """The rows with a shared key. Hashes may collide: then an unlinked row is among them."""
    return rows_with(rows, KEYS, shared)


def drop_linked(rows: DataFrame, shared: DataFrame) -> DataFrame:
    """The rows without a shared key."""
    return rows_without(rows, KEYS, shared)


def with_cluster(observations: DataFrame) -> DataFrame:
    """Rule 2. Adds `cluster` (id, start in µs): a run of one user's observations of one id without a gap over 24 h."""
    by_id = Window.partitionBy("user_id", "impression_id").orderBy("_micros")
    since = F.col("_micros") - F.lag("_micros").over(by_id)
    begins = since.isNull() | (since > LINK_SECONDS * 1_000_000)
    start = F.max(F.when(F.col("_begins"), F.col("_micros"))).over(by_id)
    cluster = F.struct(F.col("impression_id").alias("id"), F.col("_start").alias("start"))
    return (
        observations.withColumn("_micros", F.unix_micros("time"))
        .withColumn("_begins", begins)
        .withColumn("_start", start)
        .withColumn("cluster", cluster)
        .drop("_micros", "_begins", "_start")
    )


def with_component(clustered: DataFrame) -> DataFrame:
    """Rule 3, joined with rule 2. Adds `component`: the smallest of the connected clusters."""
    view = ("user_id", second_of(F.col("time")).alias("second"), "shown_hash")
    same_view = clustered.groupBy(*view).agg(distinct_of("cluster").alias("link"))
    links = same_view.where("size(link) > 1").groupBy("user_id").agg(F.collect_list("link").alias("links"))
    labels = smallest_linked(links).select(
        F.col("user_id").alias("_user"),
        F.col("id").alias("_id"),
        F.col("start").alias("_start"),
        F.col("label_id").alias("_label_id"),
        F.col("label_start").alias("_label_start"),
    )
    same = (
        (F.col("user_id") == F.col("_user"))
        & (F.col("cluster.id") == F.col("_id"))
        & (F.col("cluster.start") == F.col("_start"))
    )
    # Field by field: for the embedded engine two structs differ in type if one comes from a column with metadata.
    label = F.struct(
        F.coalesce("_label_id", "cluster.id").alias("id"), F.coalesce("_label_start", "cluster.start").alias("start")
    )
    return clustered.join(labels, same, how="left").withColumn("component", label).drop(*labels.columns)


def canonical_of(observations: str) -> dict[str, Column]:
    """`time` and `impression_id` of a component, from its observations, which are sorted by id: the earliest time, and
    the smallest id of that second.

    No two impressions get one key: each has an observation of its canonical id in that second, so rule 2 would have
    linked them. The smallest of all ids would not do: it could be that of an impression days before.
    """
    time = F.array_min(f"{observations}.time")
    first = F.filter(observations, lambda observation: second_of(observation["time"]) == second_of(time))
    return {"time": time, "impression_id": F.get(first, F.lit(0))["impression_id"]}
