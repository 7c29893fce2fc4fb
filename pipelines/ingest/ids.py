"""Whether the ids of a line can be used: the close look, where a cheap one did not show that they are fine.

A number is an id if it is whole: 1541, 1541.0 and 1.541e3 are all '1541'. Another number (1.5, 1e400), and one that
is written as a fraction and is too large to be exact (from 2^53 on), is none.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

LONGEST_ID_BYTES = 256
_SINGLE, _LISTS = ("impression_id", "user_id"), ("history", "shown", "clicked_ids")
_BAD_LETTER = r"[\s\p{Z}\p{Cc}\\]"
BETWEEN = "\x01"  # parts ids where they are looked at together: one that holds it has a backslash in its line
FIRST_INEXACT = 1 << 53  # a double that is as large may stand for several whole numbers
_FLOAT = r'(-?[0-9]+\.[0-9]*(E-?[0-9]+)?|"-?Infinity")'  # how Spark writes a number of JSON that has a fraction
_HALF_PAIR = r"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]"


def with_whole_numbers(fields: DataFrame, names: Sequence[str]) -> DataFrame:
    """Ids that are whole numbers written as fractions become whole numbers, ids that are other numbers null.

    `_ids` holds all of them behind BETWEEN, and `_text` the line: a text in quotes is no number.
    """
    ids = F.col("_ids")
    dotted = F.contains(ids, F.lit(".")) | F.contains(ids, F.lit('"'))  # a cheap look first
    floats = dotted & ids.rlike(rf"{BETWEEN}{_FLOAT}({BETWEEN}|\z)")
    # All in one function of lists, which Spark does not compile: a rule for each column would cost every plan.
    lists = F.array(*(F.array(name) if name in _SINGLE else F.col(name) for name in names))
    whole = F.when(floats, F.transform(lists, lambda ids: F.transform(ids, _whole)))
    changed = fields.withColumn("_whole", whole)
    found = {name: F.get("_whole", F.lit(at)) for at, name in enumerate(names)}
    found |= {name: F.get(found[name], F.lit(0)) for name in names if name in _SINGLE}
    given = {name: F.when(F.col("_whole").isNull(), F.col(name)).otherwise(found[name]) for name in names}
    return changed.select(*(given[name].alias(name) if name in given else F.col(name) for name in fields.columns))


def _whole(id: Column) -> Column:
    number = id.try_cast("double")
    exact = (number == F.floor(number)) & (F.abs(number) < F.lit(FIRST_INEXACT))
    text = F.when(exact, number.try_cast("long").cast("string"))
    quoted = F.contains(F.col("_text"), F.concat(F.lit('"'), id, F.lit('"')))
    return F.when(id.rlike(rf"^{_FLOAT}\z") & ~quoted, text).otherwise(id)


def null_or_long_ids() -> Column:
    """A list has a null, or an id is longer than any that passes."""
    lists = [F.coalesce(F.exists(name, lambda id: id.isNull() | _is_long(id)), F.lit(False)) for name in _LISTS]
    return _any([*(_is_long(F.col(name)) for name in _SINGLE), *lists])


def no_ids() -> Column:
    """An id is empty or no scalar, or a list has such an id."""
    return _any([*(_is_none(F.col(name)) for name in _SINGLE), *(F.exists(name, _is_none) for name in _LISTS[:2])])


def no_clicked_ids() -> Column:
    """As `no_ids`, of the clicked news."""
    return F.coalesce(F.exists("clicked_ids", _is_none), F.lit(False))


def bad_ids(text: Column) -> Column:
    """An id has a backslash, a control character or white space, is too long, or lost a letter that was half a pair."""
    lost = text.rlike(_HALF_PAIR) & F.concat_ws("", *_SINGLE, *_LISTS).contains("?")  # Java writes the half so
    lists = [F.coalesce(F.exists(name, _is_bad), F.lit(False)) for name in _LISTS]
    return _any([*(_is_bad(F.col(name)) for name in _SINGLE), *lists, F.coalesce(lost, F.lit(False))])


def _any(rules: list[Column]) -> Column:
    return functools.reduce(operator.or_, rules)


def _is_none(id: Column) -> Column:
    """Null, blank, or an object or a list where an id should be: the JSON reader hands that over as its text."""
    return id.isNull() | (F.trim(id) == "") | id.startswith("{") | id.startswith("[")


def _is_bad(id: Column) -> Column:
    return id.rlike(_BAD_LETTER) | _is_long(id)


def _is_long(id: Column) -> Column:
    return F.octet_length(id) > LONGEST_ID_BYTES
