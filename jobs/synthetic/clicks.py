"""Draws clicks: click probabilities, the clicks drawn from them, and the clicks made before the log begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.synthetic.newsroom import News
from jobs.synthetic.readers import Readers, Views
from jobs.synthetic.shown import PERSONAL_SHARE, SHOWN_LEAST, draw_shown
from jobs.synthetic.sizes import Bools, Floats, Ids, Ints, shuffled_ids, starts_of

# A shown news is clicked with probability sigmoid(AFFINITY * affinity + APPEAL * log appeal + BASE).
AFFINITY = 4.4
APPEAL = 0.2
BASE = -5.05
PAST_CLICKS = (5, 40)  # before the log begins: fewest, most
PAST_MEDIAN, PAST_SPREAD = 18.0, 0.6
NEW_USER_RATE = 0.02  # users whose first click, if any, is in the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """I impressions in time order as they truly happened, their P shown news concatenated, each user's C clicks."""

    id_I: Ids
    user_I: Ints
    time_I: Ints
    shown_start_I1: Ints
    news_P: NDArray[np.int32]
    clicked_P: Bools
    probability_P: Floats
    history_length_I: Ints  # clicks of the user before it: a prefix of the user's sequence
    sequence_start_U1: Ints
    sequence_C: NDArray[np.int32]  # news clicked by each user, oldest first


def draw_log(views: Views, news: News, readers: Readers, rng: np.random.Generator, *, first_impression: int = 0) -> Log:
    """The true log. A user is never shown clicked news again; a page with too few news left is no page view."""
    view_P, news_P = draw_shown(views, news, readers, rng)
    probability_P = click_probability(views.user_I[view_P], news_P, news, readers)
    clicked_P = rng.random(len(news_P)) < probability_P
    past_user_C, past_news_C = _past_clicks(news, readers, rng)

    total = len(news.id_V)
    known_P = _clicked_before(views.user_I[view_P] * total + news_P, clicked_P, past_user_C * total + past_news_C)
    left_I = np.bincount(view_P[~known_P], minlength=len(views.time_I))
    kept_P = ~known_P & (left_I >= SHOWN_LEAST)[view_P]
    kept_I = np.flatnonzero(left_I >= SHOWN_LEAST)

    user_I, news_P, clicked_P = views.user_I[kept_I], news_P[kept_P], clicked_P[kept_P]
    start_I1 = starts_of(left_I[kept_I])
    click_user_C = np.repeat(user_I, np.diff(start_I1))[clicked_P]
    user_C = np.concatenate([past_user_C, click_user_C])
    sequence_C = np.concatenate([past_news_C, news_P[clicked_P]])[np.argsort(user_C, kind="stable")]
    users = len(readers.id_U)
    return Log(
        id_I=shuffled_ids("i", len(kept_I), rng, digits=7, first=first_impression),
        user_I=user_I,
        time_I=views.time_I[kept_I],
        shown_start_I1=start_I1,
        news_P=news_P.astype(np.int32),
        clicked_P=clicked_P,
        probability_P=probability_P[kept_P],
        history_length_I=_history_length(user_I, start_I1, clicked_P, np.bincount(past_user_C, minlength=users)),
        sequence_start_U1=starts_of(np.bincount(user_C, minlength=users)),
        sequence_C=sequence_C.astype(np.int32),
    )


def click_probability(user_P: Ints, news_P: Ints, news: News, readers: Readers) -> Floats:
    """The true probability that the user clicks the news when it is shown."""
    affinity_P = readers.affinity_UT[user_P, news.topic_V[news_P]].astype(np.float64)
    return _sigmoid(AFFINITY * affinity_P + APPEAL * news.log_appeal_V[news_P] + BASE)


def _sigmoid(logit: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-logit))
    return probability


def _past_clicks(news: News, readers: Readers, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """(user, news) clicked before the log, users in order, each one's oldest news first: the same click model on
    the stock. First the topic by what is shown times how likely it is clicked, then the news within it."""
    weight_V = np.where(news.published_V < 0, news.appeal_V * np.exp(APPEAL * news.log_appeal_V), 0.0)
    sum_V1 = np.concatenate([np.zeros(1), np.cumsum(weight_V)])
    low_T, high_T = sum_V1[news.topic_start_T1[:-1]], sum_V1[news.topic_start_T1[1:]]
    users, topics = readers.affinity_UT.shape
    personal_UT = np.stack([np.mean(readers.ticket_U4 == topic, axis=1) for topic in range(topics)], axis=1)
    shown_UT = (1 - PERSONAL_SHARE) * (high_T - low_T) / sum_V1[-1] + PERSONAL_SHARE * personal_UT * (high_T > low_T)
    rate_UT = shown_UT * _sigmoid(AFFINITY * readers.affinity_UT.astype(np.float64) + BASE)
    edge_UT = np.cumsum(rate_UT, axis=1) / rate_UT.sum(axis=1, keepdims=True)

    length_U = np.clip(rng.lognormal(np.log(PAST_MEDIAN), PAST_SPREAD, users).astype(np.int64), *PAST_CLICKS)
    length_U[rng.random(users) < NEW_USER_RATE] = 0
    user_C = np.repeat(np.arange(users), length_U)
    topic_C = np.minimum((rng.random((len(user_C), 1)) >= edge_UT[user_C]).sum(axis=1), topics - 1)
    point_C = low_T[topic_C] + rng.random(len(user_C)) * (high_T - low_T)[topic_C]
    news_C = np.minimum(np.searchsorted(sum_V1, point_C, side="right") - 1, len(weight_V) - 1)
    key = np.unique(user_C * len(weight_V) + news_C)
    user_C, news_C = key // len(weight_V), key % len(weight_V)
    order = np.lexsort((news.published_V[news_C], user_C))
    return user_C[order], news_C[order]


def _clicked_before(key_P: Ints, clicked_P: Bools, past_C: Ints) -> Bools:
    """Marks news that the user had clicked earlier: keys are (user, news) in time order, after those of the past."""
    key = np.concatenate([past_C, key_P])
    clicked = np.concatenate([np.ones(len(past_C), np.bool_), clicked_P])
    order = np.argsort(key, kind="stable")
    _, start = np.unique(key[order], return_index=True)
    earlier = np.cumsum(clicked[order]) - clicked[order]
    before = np.empty(len(key), np.bool_)
    before[order] = earlier > np.repeat(earlier[start], np.diff(np.append(start, len(key))))
    return before[len(past_C) :]


def _history_length(user_I: Ints, start_I1: Ints, clicked_P: Bools, past_U: Ints) -> Ints:
    """The number of clicks that each impression's user had made before it."""
    clicks_I = np.diff(starts_of(clicked_P.astype(np.int64))[start_I1])
    order = np.argsort(user_I, kind="stable")
    sum_I1 = starts_of(clicks_I[order])
    first_U = starts_of(np.bincount(user_I, minlength=len(past_U)))[:-1]
    length_I = np.empty(len(user_I), np.int64)
    length_I[order] = sum_I1[:-1] - sum_I1[first_U[user_I[order]]]
    return length_I + past_U[user_I]
