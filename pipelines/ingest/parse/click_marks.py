"""Finds the clicked news by click marks, in a list of their own or at the ends of news ids; all of a batch at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.rules import MARKS, Fields
from pipelines.ingest.parse.text_lists import (
    TEXT,
    Bools,
    any_of,
    as_numpy,
    is_null,
    lengths,
    lists_of,
    rows_with,
    spans,
)
from pipelines.lists import bounds_of

_MARKS = pa.array(["0", "1", "false", "true"])
_CLICKED = pa.array(["1", "true"])
_SUFFIX = 2  # letters of a click mark at the end of an id: -0 or -1
_HYPHEN, _NINE = b"-9"
_ZERO, _ONE = b"01"


def with_marked_clicks(fields: Fields) -> Fields:
    """Replaces `clicked`, a list of a mark for each shown news, by the list of the news marked as clicked. Null stays
    null.
    """
    marks, shown = fields.clicked.flatten(), fields.shown.flatten()
    counts, shown_counts = lengths(fields.clicked), lengths(fields.shown)
    valid = ~is_null(fields.clicked)
    unknown = ~as_numpy(pc.is_in(marks, _MARKS))
    known = ~is_null(fields.shown)
    bad = valid & known & ((counts != shown_counts) | any_of(unknown, counts))
    rows = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(marks)) - bounds_of(counts)[rows]
    hit = as_numpy(pc.is_in(marks, _CLICKED)) & (place < shown_counts[rows])
    clicked = shown.take(pa.array((bounds_of(shown_counts)[rows] + place)[hit]))
    found = lists_of(np.bincount(rows[hit], minlength=len(counts)), clicked, valid & known)
    return replace(fields, clicked=found).flagged(MARKS, bad)


def with_suffix_clicks(fields: Fields, *, any_hyphen: bool = False) -> Fields:
    """Reads the click marks at the ends of shown news, which all or none of a line have: cuts them off, sets `clicked`.

    Flags lines with marks on some news only, and lines without marks in which a news ends in something like one; with
    `any_hyphen`, any hyphen counts as such.
    """
    news, counts = fields.shown.flatten(), lengths(fields.shown)
    data, at = spans(news)
    sizes, ends = np.diff(at), at[1:]
    padded = np.concatenate([np.zeros(_SUFFIX, np.uint8), data])
    last, before = padded[ends + 1], padded[ends]
    tailed = (before == _HYPHEN) & (sizes >= _SUFFIX)
    clicked = tailed & (last == _ONE)
    marked = clicked | (tailed & (last == _ZERO))
    labelled = ~any_of(~marked, counts) & ~is_null(fields.shown)
    like = (last == _HYPHEN) & (sizes > 0) | tailed & (last >= _ZERO) & (last <= _NINE)
    if any_hyphen:
        like = rows_with(np.flatnonzero(data == _HYPHEN), at)
    nulls = any_of(is_null(news), counts)
    bad = ~labelled & any_of(like, counts) & ~nulls
    rows = np.repeat(labelled, counts)
    bare = _without_marks(news, rows)
    hits = clicked & rows
    of = np.repeat(np.arange(len(counts)), counts)
    found = lists_of(np.bincount(of[hits], minlength=len(counts)), bare.filter(pa.array(hits)), labelled)
    shown = lists_of(counts, bare, ~is_null(fields.shown))
    return replace(fields, shown=shown, clicked=found).flagged(MARKS, bad)


def _without_marks(news: pa.Array, marked: Bools) -> pa.Array:
    bare = pc.binary_slice(news.view(pa.binary()), 0, -_SUFFIX).view(TEXT)
    return bare if marked.all() else pc.if_else(pa.array(marked), bare, news)
