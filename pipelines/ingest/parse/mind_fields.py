"""What lines of MIND's behaviors.tsv hold: columns parted by tabs, ids by blanks, -0 and -1 as click marks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.click_marks import with_suffix_clicks
from pipelines.ingest.parse.rules import COLUMNS, Fields
from pipelines.ingest.parse.text_lists import TEXT, TEXTS, Bools, Ints, is_null, lengths, lists_of, spans

MIND_COLUMNS = 5


def fields_of_mind(lines: pa.Array, skipped: Bools) -> Fields:
    """The fields of lines of UTF-8; those that are skipped have none. No id of MIND has a hyphen."""
    parts = pc.split_pattern(lines.view(TEXT), "\t")
    whole = lengths(parts) == MIND_COLUMNS
    places = np.flatnonzero(whole)
    columns = parts.take(pa.array(places)).flatten()
    order = np.full(len(lines), -1)
    order[places] = np.arange(len(places)) * MIND_COLUMNS
    impression_id, user_id, time, history, shown = (_column(columns, order, whole, i) for i in range(MIND_COLUMNS))
    fields = Fields(
        impression_id=impression_id,
        user_id=user_id,
        time_text=time,
        history=_parted(history),
        shown=_parted(shown),
        clicked=pa.nulls(len(lines), TEXTS),
        flags=np.where(whole | skipped, 0, COLUMNS).astype(np.uint8),
    )
    return with_suffix_clicks(fields, any_hyphen=True)


def _column(columns: pa.Array, order: Ints, whole: Bools, number: int) -> pa.Array:
    return pc.utf8_trim(columns.take(pa.array(order + number, mask=~whole)), " ")


def _parted(texts: pa.Array) -> pa.Array:
    """The ids of each text, runs of blanks between them; null stays null."""
    some = pc.if_else(pc.not_equal(texts, ""), texts, None)
    if b"  " in spans(some)[0].tobytes():
        some = pc.replace_substring_regex(some, " +", " ")
    parts = pc.split_pattern(some, " ")
    return lists_of(lengths(parts), parts.flatten(), ~is_null(texts))
