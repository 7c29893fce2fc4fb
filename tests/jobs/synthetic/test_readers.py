from __future__ import annotations

import numpy as np

from jobs.synthetic.readers import INTERESTS, SIBLING_AFFINITY, draw_views, gather_readers
from jobs.synthetic.sizes import DAY, DAYS, SIZES


def test_each_user_has_two_to_four_favourites_and_some_liking_for_their_siblings() -> None:
    readers = gather_readers(SIZES["demo"], np.random.default_rng(1))
    favourites = (readers.affinity_UT > 0.7).sum(axis=1)
    assert set(favourites.tolist()) == set(range(INTERESTS[0], INTERESTS[1] + 1))
    others = readers.affinity_UT[readers.affinity_UT <= 0.7]
    assert 0 < others.max() <= SIBLING_AFFINITY
    liked = np.take_along_axis(readers.affinity_UT, readers.ticket_U4, axis=1)
    assert liked.min() > 0.7


def test_views_come_in_time_order_and_never_two_of_a_user_in_one_second() -> None:
    views = draw_views(SIZES["demo"], np.random.default_rng(1))
    assert np.all(np.diff(views.time_I) >= 0)
    assert len(np.unique(np.stack([views.user_I, views.time_I]), axis=1).T) == len(views.user_I)
    assert views.time_I.min() >= 0
    assert views.time_I.max() < DAYS * DAY


def test_everybody_comes_activity_is_skewed_and_nights_are_quiet() -> None:
    views = draw_views(SIZES["demo"], np.random.default_rng(1))
    count = np.sort(np.bincount(views.user_I, minlength=2_250))
    assert count[0] >= 1
    assert count[-225:].sum() > 0.25 * count.sum()  # the busiest tenth
    by_hour = np.bincount(views.time_I % DAY // 3600, minlength=24)
    assert by_hour[2:5].sum() < 0.2 * by_hour[18:21].sum()
