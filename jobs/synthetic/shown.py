"""Draws the shown news of each page view by appeal and recency, some of them from the user's favourite topics."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from jobs.synthetic.newsroom import News
from jobs.synthetic.readers import Readers, Views
from jobs.synthetic.sizes import DAY, DAYS, Floats, Ints, starts_of

SHOWN_LEAST, SHOWN_MOST = 2, 120
SHOWN_SHAPE, SHOWN_SCALE = 2.0, 19.7  # gamma: with the clipping and with news clicked before taken out, 37 on average
PERSONAL_SHARE = 0.09  # of the draws come from a favourite topic of the user
SLOT_SECONDS = 3600  # weights are those of the hour's beginning
_ROUNDS = 12  # of drawing duplicates again


def draw_shown(views: Views, news: News, readers: Readers, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """(page view, news) of everything shown: views in order, the news of each in the order shown."""
    wanted_I = rng.gamma(SHOWN_SHAPE, SHOWN_SCALE, len(views.time_I)).astype(np.int64)
    wanted_I = np.clip(wanted_I, SHOWN_LEAST, min(SHOWN_MOST, len(news.id_V) // 3))
    slot_starts = np.searchsorted(views.time_I, np.arange(0, DAYS * DAY + 1, SLOT_SECONDS))
    view_parts, news_parts = [], []
    for slot, (first, end) in enumerate(pairwise(slot_starts.tolist())):
        if first < end:
            ticket_I4 = readers.ticket_U4[views.user_I[first:end]]
            row, drawn = _draw_slot(wanted_I[first:end], ticket_I4, news, news.weight_V(slot * SLOT_SECONDS), rng)
            view_parts.append(row + first)
            news_parts.append(drawn)
    view_P, news_P = np.concatenate(view_parts), np.concatenate(news_parts)
    order = np.argsort(view_P + rng.random(len(view_P)))
    return view_P[order], news_P[order]


def _draw_slot(
    wanted_R: Ints, ticket_R4: Ints, news: News, weight_V: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Distinct news for R rows, drawn without replacement: duplicates are drawn again."""
    rows, total = len(wanted_R), len(weight_V)
    key_P = np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        missing_R = wanted_R - np.bincount(key_P // total, minlength=rows)
        if not missing_R.any():
            break
        row_P = np.repeat(np.arange(rows), np.where(missing_R > 0, 2 * missing_R + 4, 0))
        news_P = draw_news(row_P, ticket_R4, news, weight_V, rng)
        fresh_P = (row_P * total + news_P)[weight_V[news_P] > 0]
        key_P = _first_of_each(np.concatenate([key_P, fresh_P]))
        key_P = _first_of_row(key_P, key_P // total, wanted_R)
    return key_P // total, key_P % total


def draw_news(row_P: Ints, ticket_R4: Ints, news: News, weight_V: Floats, rng: np.random.Generator) -> Ints:
    """One news for each P, by weight: mostly from all of them, sometimes from a favourite topic of its row's user."""
    sum_V1 = np.concatenate([np.zeros(1), np.cumsum(weight_V)])
    ticket_P = ticket_R4[row_P, rng.integers(ticket_R4.shape[1], size=len(row_P))]
    personal_P = rng.random(len(row_P)) < PERSONAL_SHARE
    low_P = np.where(personal_P, sum_V1[news.topic_start_T1[ticket_P]], 0.0)
    high_P = np.where(personal_P, sum_V1[news.topic_start_T1[ticket_P + 1]], sum_V1[-1])
    point_P = low_P + rng.random(len(row_P)) * (high_P - low_P)
    place_P: Ints = np.searchsorted(sum_V1, point_P, side="right") - 1
    return np.minimum(place_P, len(weight_V) - 1)


def _first_of_each(key_P: Ints) -> Ints:
    """The keys without repetitions, in the order of their first occurrence."""
    _, first = np.unique(key_P, return_index=True)
    return key_P[np.sort(first)]


def _first_of_row(key_P: Ints, row_P: Ints, wanted_R: Ints) -> Ints:
    """The first wanted_R keys of each row."""
    order = np.argsort(row_P, kind="stable")
    start_R = starts_of(np.bincount(row_P, minlength=len(wanted_R)))[:-1]
    rank_P = np.arange(len(order)) - start_R[row_P[order]]
    kept_P: Ints = order[rank_P < wanted_R[row_P[order]]]
    return key_P[kept_P]
