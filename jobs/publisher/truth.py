"""The truth beside the log: the impressions as they happened, what the lines must add up to, the oracle's AUC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from jobs.publisher.clicks import Log
from jobs.publisher.faults import FAULTS, LATE_RATE, MALFORMED_RATE, REDELIVERED_RATE, Deliveries, reason_of
from jobs.publisher.newsroom import News
from jobs.publisher.readers import Readers
from jobs.publisher.sizes import DAY, DAYS, Bools, Floats, Ints, as_times


def truth_table(log: Log, news: News, readers: Readers) -> pa.Table:
    """What ingest must find: one row per impression in time order, with the probability behind each click mark."""
    offsets = pa.array(log.shown_start_I1.astype(np.int32))
    strings = [pa.array(ids.astype(str)) for ids in (log.id_I, readers.id_U, news.id_V)]
    return pa.table(
        {
            "impression_id": strings[0],
            "user_id": strings[1].take(pa.array(log.user_I)),
            "time": pa.array(as_times(log.time_I).astype("datetime64[us]"), pa.timestamp("us", tz="UTC")),
            "shown": pa.ListArray.from_arrays(offsets, strings[2].take(pa.array(log.news_P))),
            "clicked": pa.ListArray.from_arrays(offsets, pa.array(log.clicked_P)),
            "probability": pa.ListArray.from_arrays(offsets, pa.array(log.probability_P)),
        }
    )


def truth_counts(log: Log, deliveries: Deliveries) -> dict[str, Any]:
    """The books: lines = impressions + merged + rejected; how many of what; what the oracle reaches."""
    by_fault = np.bincount(deliveries.fault_D[deliveries.fault_D >= 0], minlength=len(FAULTS)).tolist()
    impressions, rejected, lines = len(log.id_I), sum(by_fault), len(deliveries.impression_D)
    auc_I = impression_auc(log.probability_P, log.clicked_P, log.shown_start_I1)
    last_day_I = log.time_I >= (DAYS - 1) * DAY
    return {
        "lines": lines,
        "impressions": impressions,
        "merged": lines - impressions - rejected,
        "rejected": rejected,
        "rejected_by_reason": {reason_of(fault): count for fault, count in enumerate(by_fault)},
        "clicks": int(log.clicked_P.sum()),
        "mean_shown": round(len(log.news_P) / impressions, 3),
        "oracle_auc": round(float(np.nanmean(auc_I)), 6),
        "oracle_auc_last_day": round(float(np.nanmean(auc_I[last_day_I])), 6),
        "last_day": str(as_times(np.array([(DAYS - 1) * DAY]))[0])[:10],
        "rates": {"redelivered": REDELIVERED_RATE, "malformed": MALFORMED_RATE, "late": LATE_RATE},
    }


def impression_auc(score_P: Floats, clicked_P: Bools, start_I1: Ints) -> Floats:
    """AUC of each impression, ties half; NaN where all or none of its news were clicked."""
    length_I = np.diff(start_I1)
    impression_P = np.repeat(np.arange(len(length_I)), length_I)
    order = np.lexsort((score_P, impression_P))
    score, clicked, impression = score_P[order], clicked_P[order].astype(np.float64), impression_P[order]
    new = np.concatenate([[True], (score[1:] != score[:-1]) | (impression[1:] != impression[:-1])])
    tie = np.cumsum(new) - 1
    unclicked_R, clicked_R = np.bincount(tie, weights=1 - clicked), np.bincount(tie, weights=clicked)
    impression_R = impression[new]
    before_R = np.cumsum(unclicked_R) - unclicked_R
    unclicked_I = np.bincount(impression_P, weights=~clicked_P)
    before_R -= (np.cumsum(unclicked_I) - unclicked_I)[impression_R]  # unclicked news of the same impression below
    wins_I = np.bincount(impression_R, weights=clicked_R * (before_R + unclicked_R / 2))
    pairs_I = unclicked_I * (length_I - unclicked_I)
    auc_I: Floats = np.where(pairs_I > 0, wins_I / np.maximum(pairs_I, 1), np.nan)
    return auc_I
