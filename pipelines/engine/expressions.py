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


def hash64(text: str, *others: Column | str) -> Column:
    """`xxhash64` of a column of texts that is never null, and of others.

    There it fails on a file in which each of the columns has one value, which is then read as a constant.
    """
    return F.xxhash64(F.coalesce(text, F.lit("")), *others)
