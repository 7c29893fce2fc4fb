"""Implied: what a log's mapping leaves out and its lines imply: what a click shows, and an impression's id."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.mapping import LogMapping

_DIGITS = 16  # of a hash of 64 bits


def with_implied(fields: DataFrame, mapping: LogMapping) -> DataFrame:
    """The fields of lines, with `shown` and `impression_id` where the mapping has no column for them.

    A log of clicks alone shows what was clicked. An impression without an id has one made of its time and the set of
    news that it shows, in hexadecimal digits: the same line again is the same impression, and a user's other click is
    another, even in the same second. The user id is no part of it, since user ids may be replaced (`privacy.py`), and
    impressions are told apart by user all the same.
    """
    if "shown" not in mapping.columns:
        fields = fields.withColumn("shown", F.col("clicked_ids"))
    if "impression_id" not in mapping.columns:
        fields = fields.withColumn("impression_id", _made_id())
    return fields


def _made_id() -> Column:
    hash = F.xxhash64(F.unix_micros("time"), F.array_sort(F.array_distinct("shown")))
    return F.lower(F.lpad(F.hex(hash), _DIGITS, "0"))
