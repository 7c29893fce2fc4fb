"""Draws users: each one's interests and activity, and the times of their page views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.synthetic.sizes import DAY, DAYS, Floats, Ids, Ints, Size, shuffled_ids
from jobs.synthetic.topics import CATEGORIES, TOPICS

FRIENDS_EXPONENT = 1.0  # how often the r-th most popular topic is a favourite: r ** -this
INTERESTS = (2, 4)  # favourite topics of a user: fewest, most
SIBLING_AFFINITY = 0.3  # for the other topics of a favourite's category, where the favourite itself has up to 1
ACTIVITY_SPREAD = 0.9  # of the logarithm of a user's activity
VIEWS_PER_SESSION = 1.9
PAUSE_SECONDS = 200.0  # mean time between the views of a session, above PAUSE_LEAST
PAUSE_LEAST = 15
# Traffic of each UTC hour: low at night, rising in the morning, with a peak in the evening.
HOURS = np.array([4, 2, 1, 1, 1, 2, 5, 9, 11, 9, 8, 8, 10, 9, 8, 8, 9, 10, 12, 14, 15, 13, 10, 7], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """U users: their affinity for each of T topics (0 to 1), and their favourites in 4 tickets to draw from."""

    id_U: Ids
    affinity_UT: NDArray[np.float32]
    ticket_U4: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """I page views in time order; a user never has two in one second."""

    user_I: Ints
    time_I: Ints


def gather_readers(size: Size, rng: np.random.Generator, *, first_user: int = 0) -> Readers:
    """Users with a few favourite topics each; some topics are a favourite far more often than others."""
    users, topics, most = size.users, size.topics, INTERESTS[1]
    share_T = rng.permutation(np.arange(1, topics + 1) ** -FRIENDS_EXPONENT)
    keys_UT = rng.exponential(size=(users, topics)) / share_T  # the smallest keys = a weighted draw without replacement
    favourite_U4 = np.argsort(keys_UT, axis=1)[:, :most]
    count_U1 = rng.integers(INTERESTS[0], most + 1, size=(users, 1))
    level_U4 = np.where(np.arange(most) < count_U1, rng.uniform(0.75, 1.0, size=(users, most)), 0.0)

    affinity_UT = np.zeros((users, topics), np.float32)
    np.put_along_axis(affinity_UT, favourite_U4, level_U4.astype(np.float32), axis=1)
    category_T = np.array([CATEGORIES.index(topic.category) for topic in TOPICS[:topics]])
    best = np.stack([affinity_UT[:, category_T == c].max(axis=1) for c in range(int(category_T.max()) + 1)], axis=1)
    affinity_UT = np.maximum(affinity_UT, SIBLING_AFFINITY * best[:, category_T])
    ticket_U4 = np.take_along_axis(favourite_U4, np.arange(most) % count_U1, axis=1)
    id_U = shuffled_ids("u", users, rng, first=first_user)
    return Readers(id_U=id_U, affinity_UT=affinity_UT.astype(np.float32), ticket_U4=ticket_U4)


def draw_views(size: Size, rng: np.random.Generator) -> Views:
    """Sessions by activity and hour of the day, each a few page views long."""
    activity_U = rng.lognormal(sigma=ACTIVITY_SPREAD, size=size.users)
    more = max(0, round(size.impressions / VIEWS_PER_SESSION) - size.users)
    user_S = np.concatenate(
        [np.arange(size.users), rng.choice(size.users, more, p=activity_U / activity_U.sum())]
    )  # everybody comes once
    begin_S = rng.integers(DAYS, size=len(user_S)) * DAY + _second_of_day(len(user_S), rng)
    views_S = rng.geometric(1 / VIEWS_PER_SESSION, size=len(user_S))
    user_I = np.repeat(user_S, views_S)
    pause_I = PAUSE_LEAST + rng.exponential(PAUSE_SECONDS, size=len(user_I)).astype(np.int64)
    since_I = np.cumsum(pause_I)
    first_I = np.repeat(np.cumsum(views_S) - views_S, views_S)
    time_I = np.repeat(begin_S, views_S) + since_I - since_I[first_I]
    inside_I = time_I < DAYS * DAY
    both = np.unique(np.stack([time_I[inside_I], user_I[inside_I]]), axis=1)
    return Views(user_I=both[1], time_I=both[0])


def _second_of_day(count: int, rng: np.random.Generator) -> Ints:
    hour: Floats = rng.choice(24, count, p=HOURS / HOURS.sum()) * 3600.0
    return (hour + rng.uniform(0, 3600, count)).astype(np.int64)
