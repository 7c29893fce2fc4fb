"""The true impressions behind the log, under the ids and times that its lines resolve to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.synthetic.clicks import Log
from jobs.synthetic.messages import Messages
from jobs.synthetic.newsroom import News
from jobs.synthetic.readers import Readers
from jobs.synthetic.sizes import Bools, Floats, Ids, Ints, as_times, starts_of

_AT_ONCE = 20_000  # clicks that are compared with the rest of their page at a time


def truth_table(log: Log, messages: Messages, news: News, readers: Readers) -> pa.Table:
    """The rows that ingest must find: one per impression in time order, with the probability of each click mark."""
    own_I, second_I = messages.id_I, messages.second_id_I
    seen_I = second_I != b""
    below_I = seen_I & np.char.less(second_I, own_I)
    canonical_I, other_I = np.where(below_I, second_I, own_I), np.where(below_I, own_I, second_I)
    last_I = log.time_I.copy()
    np.maximum.at(last_I, messages.impression_M, (log.time_I[messages.impression_M] + messages.shift_M))
    shown_I1 = pa.array(log.shown_start_I1.astype(np.int32))
    history_I1, history_H = _histories(log)
    user_I = pa.DictionaryArray.from_arrays(log.user_I.astype(np.int32), _strings(readers.id_U))
    return pa.table(
        {
            "impression_id": _strings(canonical_I),
            "also_seen_as": pa.ListArray.from_arrays(
                pa.array(starts_of(seen_I.astype(np.int64)).astype(np.int32)), _strings(other_I[seen_I])
            ),
            "user_id": user_I,
            "time": _times(log.time_I),
            "last_time": _times(last_I),
            "history": pa.ListArray.from_arrays(pa.array(history_I1.astype(np.int32)), _news(history_H, news)),
            "shown": pa.ListArray.from_arrays(shown_I1, _news(log.news_P, news)),
            "clicked": pa.ListArray.from_arrays(shown_I1, pa.array(log.clicked_P)),
            "probability": pa.ListArray.from_arrays(shown_I1, pa.array(log.probability_P)),
        }
    )


def impression_auc(score_P: Floats, clicked_P: Bools, start_I1: Ints) -> Floats:
    """AUC of each impression, ties half; NaN where all or none of its news were clicked."""
    length_I = np.diff(start_I1)
    click_P = np.flatnonzero(clicked_P)
    impression_K = np.searchsorted(start_I1, click_P, side="right") - 1
    wins_I = np.zeros(len(length_I))
    for first in range(0, len(click_P), _AT_ONCE):
        click, impression = click_P[first : first + _AT_ONCE], impression_K[first : first + _AT_ONCE]
        length = length_I[impression]
        row_R = np.repeat(start_I1[impression] - starts_of(length)[:-1], length) + np.arange(length.sum())
        mine_R, other_R = np.repeat(score_P[click], length), score_P[row_R]
        win_R = ~clicked_P[row_R] * ((other_R < mine_R) + (other_R == mine_R) / 2)
        wins_I += np.bincount(np.repeat(impression, length), weights=win_R, minlength=len(length_I))
    clicks_I = np.bincount(impression_K, minlength=len(length_I))
    pairs_I = clicks_I * (length_I - clicks_I)
    auc_I: Floats = np.where(pairs_I > 0, wins_I / np.maximum(pairs_I, 1), np.nan)
    return auc_I


def _histories(log: Log) -> tuple[Ints, NDArray[np.int32]]:
    """Where the history of each impression starts, and all histories concatenated."""
    start_I1 = starts_of(log.history_length_I)
    row_H = np.repeat(log.sequence_start_U1[log.user_I] - start_I1[:-1], log.history_length_I)
    return start_I1, log.sequence_C[row_H + np.arange(start_I1[-1])]


def _news(row: NDArray[np.int32], news: News) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(row, _strings(news.id_V))  # written as it is, without a string per row


def _strings(ids: Ids) -> pa.Array:
    return pa.array(ids.astype(str))


def _times(second_I: Ints) -> pa.Array:
    return pa.array(as_times(second_I).astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))
