"""Whether the ids of a line can be used: the close look, where a cheap one did not show that they are fine."""

from __future__ import annotations

import functools
import operator

from pyspark.sql import Column
from pyspark.sql import functions as F

LONGEST_ID_BYTES = 256
_SINGLE, _LISTS = ("impression_id", "user_id"), ("history", "shown", "clicked_ids")
_BAD_LETTER = r"[\s\p{Z}\p{Cc}\\]"
_HALF_PAIR = r"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]"


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
