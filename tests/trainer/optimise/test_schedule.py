"""Schedule: the rate rises and falls, and an extended run continues from its present rate."""

from __future__ import annotations

import itertools

import pytest

from trainer.optimise.schedule import Schedule, schedule


def test_the_rate_rises_then_falls_to_nothing() -> None:
    factors = [schedule(step, 20, 0.25) for step in range(21)]
    assert factors[4] == 1.0
    assert factors[:5] == sorted(factors[:5])
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[20] == 0.0
    assert factors == [Schedule.of([(0, 20)], 0.25).factor(step) for step in range(21)]


@pytest.mark.parametrize("first", [1, 3, 10, 19, 20])
@pytest.mark.parametrize("steps", [21, 40, 200])
def test_extended_it_continues_without_a_jump_and_joins_a_run_of_that_length(first: int, steps: int) -> None:
    longer = Schedule.of([(0, 20)], 0.25).extended(first, steps)
    factors = [longer.factor(step) for step in range(steps + 1)]
    assert factors[:first] == [longer.factor(step) for step in range(first)]
    assert factors[:first] == [schedule(step, 20, 0.25) for step in range(first)]
    joined = first + max(1, round(0.25 * (steps - first)))
    assert factors[joined:] == [schedule(step, steps, 0.25) for step in range(joined, steps + 1)]
    way = [schedule(first, 20, 0.25), *factors[first : joined + 1]]
    assert [b - a for a, b in itertools.pairwise(way)] == pytest.approx(
        [(way[-1] - way[0]) / (len(way) - 1)] * (len(way) - 1)
    )
    assert 0 <= min(factors) <= max(factors) <= 1
    assert f"until step {joined}" in longer.explained()
    assert f"falls to 0 at step {steps}" in longer.explained()


def test_extended_twice_it_keeps_both_stretches() -> None:
    once = Schedule.of([(0, 20)], 0.1).extended(20, 40)
    twice = once.extended(30, 100)
    assert [twice.factor(step) for step in range(30)] == [once.factor(step) for step in range(30)]
    assert Schedule.of([list(stretch) for stretch in twice.stretches], 0.1) == twice
    assert once.extended(20, 50).stretches == ((0, 20), (20, 50))  # nothing was done with 40
    assert Schedule.of([(0, 20)], 0.1).extended(0, 40).stretches == ((0, 40),)


@pytest.mark.parametrize(
    "stretches", [[], [(1, 20)], [(0, 20), (0, 40)], [(0, 20), (10, 20)], [(0, 20), (21, 40)], [(0, 20), ("x", 1)]]
)
def test_stretches_of_no_run_are_refused(stretches: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"a schedule of stretches|invalid literal"):
        Schedule.of(stretches, 0.1)
