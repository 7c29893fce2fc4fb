from __future__ import annotations

import numpy as np

from jobs.synthetic.newsroom import write_news
from jobs.synthetic.readers import draw_views, gather_readers
from jobs.synthetic.shown import PERSONAL_SHARE, draw_news, draw_shown
from jobs.synthetic.sizes import SIZES


def test_a_page_never_shows_a_news_twice_and_views_stay_in_order() -> None:
    rng, size = np.random.default_rng(1), SIZES["tiny"]
    news, readers, views = write_news(size, rng), gather_readers(size, rng), draw_views(size, rng)
    view_P, news_P = draw_shown(views, news, readers, rng)
    assert np.all(np.diff(view_P) >= 0)
    assert len(np.unique(view_P * size.news + news_P)) == len(view_P)
    assert np.array_equal(np.unique(view_P), np.arange(len(views.time_I)))


def test_news_are_drawn_by_weight_and_a_stated_share_from_favourites() -> None:
    rng, size = np.random.default_rng(1), SIZES["demo"]
    news, count = write_news(size, rng), 200_000
    weight_V = news.weight_V(0)
    drawn = draw_news(np.zeros(count, np.int64), np.full((1, 4), 3), news, weight_V, rng)
    assert weight_V[drawn].min() > 0
    share = weight_V[news.topic_V == 3].sum() / weight_V.sum()
    found = np.mean(news.topic_V[drawn] == 3)
    np.testing.assert_allclose(found, PERSONAL_SHARE + (1 - PERSONAL_SHARE) * share, atol=0.005)
    general = drawn[news.topic_V[drawn] != 3]
    heaviest = int(np.argmax(np.where(news.topic_V != 3, weight_V, 0)))
    expected = weight_V[heaviest] / weight_V[news.topic_V != 3].sum()
    np.testing.assert_allclose(np.mean(general == heaviest), expected, rtol=0.1)
