"""Expressions for both engines, in the form that the embedded one computes fast and correctly."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def distinct_of(values: Column | str) -> Column:
    """The distinct values of a group without null, in any order: as `collect_set`.

    The embedded engine collects lists some twenty times faster than sets of structs.
    """
    return F.array_distinct(F.collect_list(values))


def greatest_of(structs: Column | str) -> Column:
    """The greatest struct of a group, without null fields: as `max`, which the embedded engine computes slowly."""
    return F.element_at(F.array_sort(F.collect_list(structs)), -1)


def bucket_of(text: Column | str, into: int) -> Column:
    """A number from 0 to below `into` by a hash of the text, to divide rows among tasks.

    Not by `xxhash64`: the embedded engine's fails on a file in which each of its columns holds one value, which is
    read as a constant.
    """
    return F.pmod(F.crc32(text), F.lit(into))


def fraction(*columns: Column | str) -> Column:
    """A uniform number from 0 to below 1, by a hash of the columns' texts: the same on either engine."""
    texts = [(F.col(column) if isinstance(column, str) else column).cast("string") for column in columns]
    digits = F.substring(F.md5(F.concat_ws("\x01", *texts)), 1, 13)
    return F.conv(digits, 16, 10).cast("long") * F.lit(2.0**-52)
