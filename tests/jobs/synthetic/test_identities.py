from __future__ import annotations

import numpy as np

from jobs.synthetic.identities import AGAIN_RATE, REST_SECONDS, SHARED_RATE, reused_ids, second_ids
from tests.jobs.synthetic.test_messages import drawn


def test_one_id_never_stands_for_two_views_of_a_user_within_the_rest() -> None:
    log, _ = drawn(40_000)
    ids, counts = reused_ids(log, np.random.default_rng(1))
    order = np.lexsort((log.time_I, log.user_I, ids))
    ids, user, time = ids[order], log.user_I[order], log.time_I[order]
    again = (ids[1:] == ids[:-1]) & (user[1:] == user[:-1])
    assert np.diff(time)[again].min() >= REST_SECONDS
    assert np.count_nonzero(again) == counts["reused_ids"]


def test_ids_are_used_again_at_the_stated_rates() -> None:
    log, _ = drawn(40_000)
    _, counts = reused_ids(log, np.random.default_rng(1))
    np.testing.assert_allclose(counts["reused_ids"], AGAIN_RATE * len(log.id_I), rtol=0.08)
    np.testing.assert_allclose(counts["ids_of_other_users"], SHARED_RATE * len(log.id_I), rtol=0.08)


def test_a_second_collectors_ids_are_its_own() -> None:
    log, _ = drawn(3_000)
    seen = np.arange(len(log.id_I)) % 3 == 0
    ids = second_ids(log, seen, np.random.default_rng(1), first_impression=500)
    assert np.array_equal(ids != b"", seen)
    assert len(np.unique(ids[seen])) == np.count_nonzero(seen)
    assert not set(ids.tolist()) & set(log.id_I.tolist())
    assert {name[:1] for name in ids[seen].tolist()} == {b"b", b"k"}
