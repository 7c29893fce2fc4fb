from __future__ import annotations

import numpy as np

from jobs.publisher.sizes import as_times, shuffled_ids, starts_of


def test_runs_start_where_the_ones_before_end() -> None:
    assert starts_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]


def test_ids_are_distinct_of_one_width_and_grow_with_their_number() -> None:
    ids = shuffled_ids("n", 120, np.random.default_rng(1), digits=2)
    assert len(set(ids.tolist())) == 120
    assert {len(name) for name in ids.tolist()} == {4}
    assert ids.tolist() != sorted(ids.tolist())


def test_seconds_count_from_the_first_monday() -> None:
    assert [str(time) for time in as_times(np.array([-1, 86_400]))] == ["2026-03-01T23:59:59", "2026-03-03T00:00:00"]
