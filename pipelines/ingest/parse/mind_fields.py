"""Parses lines of MIND's behaviors.tsv: columns separated by tabs, ids by blanks, -0 and -1 as click marks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.click_marks import with_suffix_clicks
from pipelines.ingest.parse.rules import COLUMNS, Fields
from pipelines.ingest.parse.text_lists import TEXT, TEXTS, Bools, Ints, is_null, lengths, lists_of, spans

MIND_COLUMNS = 5


def fields_of_mind(lines: pa.Array, skipped: Bools) -> Fields:
    """The fields of lines of UTF-8; skipped lines have none. No id of MIND has a hyphen."""
    parts = pc.split_pattern(lines.view(TEXT), "\t")
    complete = lengths(parts) == MIND_COLUMNS
    places = np.flatnonzero(complete)
    columns = parts.take(pa.array(places)).flatten()
    order = np.full(len(lines), -1)
    order[places] = np.arange(len(places)) * MIND_COLUMNS
    impression_id, user_id, time, history, shown = (_column(columns, order, complete, i) for i in range(MIND_COLUMNS))
    fields = Fields(
        impression_id=impression_id,
        user_id=user_id,
        time_text=time,
        history=_split(history),
        shown=_split(shown),
        clicked=pa.nulls(len(lines), TEXTS),
        flags=np.where(complete | skipped, 0, COLUMNS).astype(np.uint8),
    )
    return with_suffix_clicks(fields, any_hyphen=True)


def _column(columns: pa.Array, order: Ints, complete: Bools, number: int) -> pa.Array:
    return pc.utf8_trim(columns.take(pa.array(order + number, mask=~complete)), " ")


def _split(texts: pa.Array) -> pa.Array:
    """The ids of each text, separated by runs of blanks; null stays null."""
    some = pc.if_else(pc.not_equal(texts, ""), texts, None)
    if b"  " in spans(some)[0].tobytes():
        some = pc.replace_substring_regex(some, " +", " ")
    parts = pc.split_pattern(some, " ")
    return lists_of(lengths(parts), parts.flatten(), ~is_null(texts))
