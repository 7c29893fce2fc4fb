from __future__ import annotations

import functools

import numpy as np

from jobs.synthetic.clicks import Log, draw_log
from jobs.synthetic.messages import (
    ALL,
    BRIDGED_RATE,
    HOUR,
    LATE_CLICKS_RATE,
    MOVED_RATE,
    SECOND_RATE,
    Messages,
    draw_messages,
)
from jobs.synthetic.newsroom import write_news
from jobs.synthetic.readers import draw_views, gather_readers
from jobs.synthetic.sizes import DAY, DAYS, Size


@functools.cache
def drawn(impressions: int) -> tuple[Log, Messages]:
    size = Size(users=impressions // 8, news=200, topics=30, impressions=impressions)
    rngs = [np.random.default_rng(seed) for seed in range(5)]
    news, readers = write_news(size, rngs[0], texts=False), gather_readers(size, rngs[1])
    log = draw_log(draw_views(size, rngs[2]), news, readers, rngs[3])
    return log, draw_messages(log, rngs[4])


def test_each_impression_has_a_message_with_its_own_id_its_true_time_and_all_clicks_and_history() -> None:
    log, messages = drawn(3_000)
    own = messages.impression_M[~messages.second_M]
    true = messages.impression_M[~messages.second_M & (messages.shift_M == 0)]
    complete = messages.impression_M[~messages.second_M & (messages.marks_M == ALL) & ~messages.bare_M]
    for found in (own, true, complete):
        assert set(found.tolist()) == set(range(len(log.time_I)))


def test_faults_come_at_their_rates() -> None:
    log, messages = drawn(40_000)
    count = len(log.time_I)
    for name, rate in (
        ("late_clicks", LATE_CLICKS_RATE),
        ("bridged_times", BRIDGED_RATE),
        ("second_collector", SECOND_RATE),
        ("moved_times", MOVED_RATE),
    ):
        np.testing.assert_allclose(messages.counts[name], rate * count, rtol=0.02)


def test_logged_times_are_later_than_the_truth_and_lie_in_the_log() -> None:
    log, messages = drawn(40_000)
    logged = log.time_I[messages.impression_M] + messages.shift_M
    assert messages.shift_M.min() == 0
    assert messages.shift_M.max() == 40 * HOUR
    assert logged.max() < DAYS * DAY
    assert np.all(messages.sent_M >= logged)
    assert 0.1 < np.mean(messages.shift_M[messages.shift_M > 0] > HOUR) < 0.6


def test_no_two_impressions_of_a_user_are_logged_at_one_second() -> None:
    log, messages = drawn(40_000)
    key = log.user_I[messages.impression_M] * (2 * DAYS * DAY) + log.time_I[messages.impression_M] + messages.shift_M
    both = np.unique(np.stack([key, messages.impression_M]), axis=1)
    assert len(np.unique(both[0])) == both.shape[1]


def test_late_clicks_come_minutes_to_days_after_what_came_first() -> None:
    log, messages = drawn(40_000)
    first_M = messages.marks_M != ALL
    late = np.isin(messages.impression_M, messages.impression_M[first_M & ~messages.second_M])
    complete = np.flatnonzero(late & (messages.marks_M == ALL) & ~messages.second_M)
    hours = (messages.sent_M[complete] - log.time_I[messages.impression_M[complete]]) / HOUR
    assert hours.min() < 0.5
    assert hours.max() > 48
    assert 1 < np.median(hours) < 4
