"""Which of the shown news were clicked: click marks beside them, or at their ends."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

_MARKS = ("0", "1", "false", "true")
_SUFFIX = 2  # letters of a click mark at the end of an id: -0 or -1


def strange_marks(clicked: Column, shown: Column) -> Column:
    """Whether marks are none, or not one for each shown news; null where there are no marks at all."""
    marks = F.array(*(F.lit(mark) for mark in _MARKS))
    return (F.size(clicked) != F.size(shown)) | (F.size(F.array_except(clicked, marks)) > 0)


def clicked_by_marks(clicked: Column, shown: Column) -> Column:
    """The shown news that have a mark; null where there are no marks at all."""
    marked = F.filter(shown, lambda _, place: F.get(clicked, place).isin("1", "true"))
    return F.when(clicked.isNotNull(), marked)


def all_marked(tokens: Column) -> Column:
    """Whether every news ends in a click mark."""
    return F.forall(tokens, lambda token: _is_clicked(token) | token.endswith("-0"))


def none_marked(tokens: Column) -> Column:
    """Whether no news ends in what could be a click mark, good or bad."""
    return ~F.exists(tokens, lambda token: token.rlike("-[0-9]?$"))


def clicked_by_suffix(tokens: Column) -> Column:
    """The clicked news of tokens that are all marked."""
    return F.transform(F.filter(tokens, _is_clicked), _without_mark)


def without_suffixes(tokens: Column) -> Column:
    """The news of tokens that are all marked."""
    return F.transform(tokens, _without_mark)


def _is_clicked(token: Column) -> Column:
    return token.endswith("-1")


def _without_mark(token: Column) -> Column:
    return F.substring(token, F.lit(1), F.length(token) - _SUFFIX)
