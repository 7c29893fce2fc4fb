"""Impression ids in the log: those of a second collector, and ids that are used again."""

from __future__ import annotations

import numpy as np

from jobs.synthetic.clicks import Log
from jobs.synthetic.sizes import DAY, DAYS, Bools, Ids, Ints, shuffled_ids, some_of

AGAIN_RATE = 0.02  # impressions whose id the counter gives to the same user once more, at least REST_SECONDS later
SHARED_RATE = 0.02  # impressions whose id the counter gives to another user too
REST_SECONDS = 3 * DAY  # well above the 24 h within which two lines of one id and user are one impression
_SECOND = ("b", "k")  # letters of second collectors' ids: below and above the publisher's own


def reused_ids(log: Log, rng: np.random.Generator) -> tuple[Ids, dict[str, int]]:
    """The impressions' ids with some used again, and their number. No two of one user within REST_SECONDS share one.

    An id that is used again goes to at most one impression of its user and at most one of another user, so that
    the impressions that share an id are known by construction.
    """
    count = len(log.id_I)
    giver_K, taker_K = _later_views(log)
    chosen_K = some_of(np.ones(len(taker_K), np.bool_), AGAIN_RATE * count / max(1, len(taker_K)), rng)
    giver_K, taker_K = giver_K[chosen_K], taker_K[chosen_K]
    takes_I = np.zeros(count, np.bool_)
    takes_I[taker_K] = True
    giver_S, taker_S = _other_user(log, takes_I, rng)
    id_I = log.id_I.copy()
    id_I[taker_K], id_I[taker_S] = log.id_I[giver_K], log.id_I[giver_S]
    return id_I, {  # a giver that took an id itself shares none
        "reused_ids": int(np.count_nonzero(id_I[giver_K] == id_I[taker_K])),
        "ids_of_other_users": int(np.count_nonzero(id_I[giver_S] == id_I[taker_S])),
    }


def second_ids(log: Log, seen_I: Bools, rng: np.random.Generator, *, first_impression: int) -> Ids:
    """The second collector's id for each impression that it saw, empty for the others."""
    count = np.count_nonzero(seen_I)
    below, above = (shuffled_ids(letter, count, rng, digits=7, first=first_impression) for letter in _SECOND)
    id_I = np.zeros(len(seen_I), below.dtype)
    id_I[seen_I] = np.where(rng.random(count) < 0.5, below, above)
    return id_I


def _later_views(log: Log) -> tuple[Ints, Ints]:
    """(impression, the first of its user that begins REST_SECONDS later); a later one is in one pair only."""
    span = 2 * DAYS * DAY  # longer than any time of the log and the rest after it
    key_I = log.user_I * span + log.time_I
    order = np.argsort(key_I)
    place_I = np.searchsorted(key_I[order], key_I + REST_SECONDS)
    later_I = order[np.minimum(place_I, len(order) - 1)]
    giver_K = np.flatnonzero((place_I < len(order)) & (log.user_I[later_I] == log.user_I))
    taker_K, first = np.unique(later_I[giver_K], return_index=True)
    return giver_K[first], taker_K


def _other_user(log: Log, takes_I: Bools, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """(giver, taker) of two users, each impression in one pair at most, none that takes an id already."""
    free = rng.permutation(np.flatnonzero(~takes_I))
    pairs = min(round(SHARED_RATE * len(takes_I)), len(free) // 2)
    giver_S, taker_S = free[:pairs], free[pairs : 2 * pairs]
    differ_S = log.user_I[giver_S] != log.user_I[taker_S]
    return giver_S[differ_S], taker_S[differ_S]
