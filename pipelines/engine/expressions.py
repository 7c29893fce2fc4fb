"""Expressions of both engines, in the form in which the embedded one takes them well."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def distinct_of(values: Column | str) -> Column:
    """The distinct values of a group but null, in any order: as `collect_set`.

    The embedded engine gathers lists some twenty times faster than sets of structs.
    """
    return F.array_distinct(F.collect_list(values))


def greatest_of(structs: Column | str) -> Column:
    """The greatest struct of a group, none of whose fields is null: as `max`, which compares them slowly there."""
    return F.element_at(F.array_sort(F.collect_list(structs)), -1)


def bucket_of(text: Column | str, into: int) -> Column:
    """A number from 0 to below `into` by a hash of the text, by which rows are dealt out.

    Not by `xxhash64`: there it fails on a file in which each column that it is given holds one value, which is then
    read as a constant.
    """
    return F.pmod(F.crc32(text), F.lit(into))


def fraction(*columns: Column | str) -> Column:
    """A number from 0 to below 1, spread evenly, by a hash of the columns' texts: the same on either engine."""
    texts = [(F.col(column) if isinstance(column, str) else column).cast("string") for column in columns]
    digits = F.substring(F.md5(F.concat_ws("\x01", *texts)), 1, 13)
    return F.conv(digits, 16, 10).cast("long") * F.lit(2.0**-52)
