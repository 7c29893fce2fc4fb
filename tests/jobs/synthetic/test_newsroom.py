from __future__ import annotations

import numpy as np

from jobs.synthetic.newsroom import LASTING, RECENCY_HOURS, News, write_news
from jobs.synthetic.sizes import DAY, DAYS, SIZES, STOCK_DAYS


def demo_news() -> News:
    return write_news(SIZES["demo"], np.random.default_rng(1))


def test_titles_are_almost_unique() -> None:
    titles = [story.title for story in demo_news().stories]
    assert len(set(titles)) > 0.99 * len(titles)


def test_each_topic_is_a_slice_of_the_rows() -> None:
    news = demo_news()
    for topic in range(42):
        assert set(news.topic_V[news.topic_start_T1[topic] : news.topic_start_T1[topic + 1]].tolist()) <= {topic}
    assert news.topic_start_T1[-1] == 3_000


def test_news_are_published_over_the_stocks_days_and_the_logs() -> None:
    day = demo_news().published_V // DAY
    assert np.bincount(day + STOCK_DAYS, minlength=STOCK_DAYS + DAYS).min() > 150
    assert (day.min(), day.max()) == (-STOCK_DAYS, DAYS - 1)


def test_appeal_is_zipf_and_weight_decays_with_age_from_publication_on() -> None:
    news = demo_news()
    best = int(np.argmax(news.appeal_V))
    hour, published = 3600, int(news.published_V[best])
    at = [news.weight_V(published + seconds)[best] for seconds in (-1, 0, int(RECENCY_HOURS * hour), 1000 * hour)]
    assert at[0] == 0
    np.testing.assert_allclose(np.array(at[1:3]) / news.appeal_V[best] - LASTING, [1, np.exp(-1)])
    assert at[3] > 0
    ranked = np.sort(news.appeal_V)[::-1]
    np.testing.assert_allclose(ranked[[9, 99]] / ranked[0], np.array([10, 100]) ** -0.7)


def test_without_texts_all_else_is_the_same() -> None:
    full, bare = demo_news(), write_news(SIZES["demo"], np.random.default_rng(1), texts=False)
    assert bare.stories == []
    assert np.array_equal(full.id_V, bare.id_V)
    assert np.array_equal(full.published_V, bare.published_V)
