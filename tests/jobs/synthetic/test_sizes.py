from __future__ import annotations

import numpy as np

from jobs.synthetic.sizes import SIZES, as_times, shuffled_ids, some_of, starts_of


def test_runs_start_where_the_ones_before_end() -> None:
    assert starts_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]


def test_ids_are_distinct_of_one_width_and_grow_with_their_number() -> None:
    ids = shuffled_ids("n", 120, np.random.default_rng(1), digits=2)
    assert len(set(ids.tolist())) == 120
    assert {len(name) for name in ids.tolist()} == {4}
    assert ids.tolist() != sorted(ids.tolist())


def test_some_are_marked_at_a_rate_and_at_least_one() -> None:
    able = np.arange(1_000) % 2 == 0
    marked = some_of(able, 0.1, np.random.default_rng(1))
    assert np.count_nonzero(marked) == 100
    assert not np.any(marked & ~able)
    assert np.count_nonzero(some_of(able, 1e-9, np.random.default_rng(1))) == 1


def test_a_size_keeps_its_shape_with_other_impressions() -> None:
    size = SIZES["demo"].with_impressions(24_000)
    assert (size.users, size.news, size.impressions) == (4_500, 3_000, 24_000)


def test_seconds_count_from_the_first_monday() -> None:
    assert [str(time) for time in as_times(np.array([-1, 86_400]))] == ["2026-03-01T23:59:59", "2026-03-03T00:00:00"]
