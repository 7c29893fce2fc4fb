"""Fourth step of ingest: which sightings are one impression, by rules 2 and 3 of DESIGN §3 together.

- Rule 2, one id: sightings of one user and impression id are linked while the gap between their times is at most
  24 h (ids are reused); a later line that bridges a wider gap links what was apart.
- Rule 3, one view: sightings of one user, second and set of news are linked, whatever their ids (two collectors).

An impression is a connected component of both. Nearly every sighting is alone, so the few that share a key with
another one, of the batch or stored, are set apart first and only they are sorted and joined.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.ingest.sightings import link_keys, second_of

LINK_SECONDS = 24 * 3600


def with_keys(sightings: DataFrame) -> DataFrame:
    """Adds `keys`: what a sighting shares with every one that it may be linked to."""
    return sightings.withColumn("keys", link_keys({name: F.col(name) for name in sightings.columns}))


def counted_keys(sightings: DataFrame) -> DataFrame:
    """Every `key` of the sightings, which have `keys`, with the `count` of those that have it."""
    return sightings.select(F.explode("keys").alias("key")).groupBy("key").agg(F.count("*").alias("count"))


def met_keys(stored: DataFrame, keys: DataFrame) -> DataFrame:
    """(`row`, `key`) of stored sightings, which have `row` and `keys`, for each key that stands in `keys` too."""
    return stored.select("row", F.explode("keys").alias("key")).join(keys.select("key"), "key", how="left_semi")


def shared_keys(keys: DataFrame, met: DataFrame | None) -> DataFrame:
    """Keys (`key`) of incoming sightings that a second one has, incoming (`keys`, counted) or stored (`met`)."""
    shared = keys.where("count > 1").select("key")
    return shared if met is None else shared.unionByName(met.select("key")).distinct()


def with_tangled(sightings: DataFrame, shared: DataFrame) -> DataFrame:
    """Adds `tangled`: one of the sighting's keys is shared. Hashes may collide: then a lonely one is looked at too."""
    for place in (0, 1):
        found = shared.select(F.col("key").alias(f"_key{place}"), F.lit(True).alias(f"_shared{place}"))
        key = F.get("keys", F.lit(place)) == F.col(f"_key{place}")
        sightings = sightings.join(found, key, how="left").drop(f"_key{place}")
    either = F.coalesce("_shared0", "_shared1", F.lit(False))
    return sightings.withColumn("tangled", either).drop("_shared0", "_shared1")


def with_cluster(sightings: DataFrame) -> DataFrame:
    """Rule 2. Adds `cluster` (id, start): runs of one user's sightings of one id without a gap of over 24 h."""
    by_id = Window.partitionBy("user_id", "impression_id").orderBy("time")
    since = F.unix_micros("time") - F.unix_micros(F.lag("time").over(by_id))
    begins = since.isNull() | (since > LINK_SECONDS * 1_000_000)
    start = F.max(F.when(F.col("_begins"), F.col("time"))).over(by_id)
    cluster = F.struct(F.col("impression_id").alias("id"), F.col("_start").alias("start"))
    return (
        sightings.withColumn("_begins", begins)
        .withColumn("_start", start)
        .withColumn("cluster", cluster)
        .drop("_begins", "_start")
    )


def with_component(clustered: DataFrame) -> DataFrame:
    """Rule 3, and both together. Adds `component`: the smallest cluster of the connected ones."""
    view = ("user_id", second_of(F.col("time")).alias("second"), "shown_hash")
    same_view = clustered.groupBy(*view).agg(F.collect_set("cluster").alias("link"))
    links = same_view.where("size(link) > 1").groupBy("user_id").agg(F.collect_set("link").alias("links"))
    labels = (
        links.select("user_id", F.explode(_joined("links")).alias("joined"))
        .select("user_id", F.array_min("joined").alias("_label"), F.explode("joined").alias("_cluster"))
        .withColumnRenamed("user_id", "_user")
    )
    same = (F.col("user_id") == F.col("_user")) & (F.col("cluster") == F.col("_cluster"))
    return (
        clustered.join(labels, same, how="left")
        .withColumn("component", F.coalesce("_label", "cluster"))
        .drop("_user", "_cluster", "_label")
    )


def with_canonical(components: DataFrame) -> DataFrame:
    """Adds `canonical_id` and `canonical_time`: the component's earliest time, and its smallest id of that second.

    No two impressions come to one key: each has a sighting of its canonical id in that second, so rule 2 would have
    linked them. The smallest of all its ids could also be that of an impression days before.
    """
    component = Window.partitionBy("user_id", "component")
    first = F.min(F.struct(second_of(F.col("time")).alias("second"), "impression_id")).over(component)
    return components.withColumns(
        {"canonical_id": first["impression_id"], "canonical_time": F.min("time").over(component)}
    )


def _joined(links: str) -> Column:
    """Sets of clusters, joined until none overlaps another: each link swallows what it touches."""
    none = F.array().cast("array<array<struct<id:string,start:timestamp>>>")

    def swallow(sets: Column, link: Column) -> Column:
        touched = F.filter(sets, lambda one: F.arrays_overlap(one, link))
        apart = F.filter(sets, lambda one: ~F.arrays_overlap(one, link))
        return F.concat(apart, F.array(F.array_distinct(F.concat(link, F.flatten(touched)))))

    return F.aggregate(links, none, swallow)
