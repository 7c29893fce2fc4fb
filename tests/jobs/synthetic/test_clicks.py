from __future__ import annotations

import numpy as np

from jobs.synthetic.clicks import NEW_USER_RATE, PAST_CLICKS, Log, click_probability, draw_log
from jobs.synthetic.newsroom import News, write_news
from jobs.synthetic.readers import Readers, Views, draw_views, gather_readers
from jobs.synthetic.sizes import SIZES, Size

SIZE = Size(users=400, news=2_000, topics=42, impressions=900)


def drawn(size: Size = SIZE) -> tuple[Log, News, Readers, Views]:
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    news, readers, views = write_news(size, rngs[0]), gather_readers(size, rngs[1]), draw_views(size, rngs[2])
    return draw_log(views, news, readers, rngs[3]), news, readers, views


def test_a_favourite_topic_beats_any_appeal_of_the_others() -> None:
    _, news, readers, _ = drawn()
    user = np.zeros(len(news.id_V), np.int64)
    probability = click_probability(user, np.arange(len(user)), news, readers)
    favourite = readers.affinity_UT[0, news.topic_V] > 0.7
    assert np.median(probability[favourite]) > 10 * np.median(probability[~favourite])


def test_clicks_before_the_log_are_on_older_news_oldest_first_each_once() -> None:
    log, news, _, _ = drawn()
    first_I = np.unique(log.user_I, return_index=True)[1]
    for impression in first_I.tolist():
        start = log.sequence_start_U1[log.user_I[impression]]
        past = log.sequence_C[start : start + log.history_length_I[impression]]
        assert len(np.unique(past)) == len(past) <= PAST_CLICKS[1]
        assert np.all(np.diff(news.published_V[past]) >= 0)
        assert np.all(news.published_V[past] < 0)


def test_clicks_before_the_log_follow_the_interests() -> None:
    log, news, readers, _ = drawn()
    user_C = np.repeat(np.arange(SIZE.users), np.diff(log.sequence_start_U1))
    liked = readers.affinity_UT[user_C, news.topic_V[log.sequence_C]] > 0.7
    assert 0.6 < liked.mean() < 0.9


def test_a_few_users_start_without_any_history() -> None:
    log, _, _, _ = drawn(SIZES["demo"])
    first_I = np.unique(log.user_I, return_index=True)[1]
    empty = np.mean(log.history_length_I[first_I] == 0)
    assert NEW_USER_RATE / 2 < empty < NEW_USER_RATE * 2


def test_every_click_stands_once_in_its_users_sequence() -> None:
    log, _, _, _ = drawn()
    impression_P = np.repeat(np.arange(len(log.user_I)), np.diff(log.shown_start_I1))
    for user in range(0, SIZE.users, 7):
        sequence = log.sequence_C[log.sequence_start_U1[user] : log.sequence_start_U1[user + 1]].tolist()
        clicked = log.news_P[log.clicked_P & (log.user_I[impression_P] == user)].tolist()
        assert sequence[len(sequence) - len(clicked) :] == clicked
        assert len(set(sequence)) == len(sequence)
