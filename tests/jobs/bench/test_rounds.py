"""Alternating rounds have complete cycles, the same steps and lasting state; a ratio states whether rounds agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.bench.policy_speed import Portion, trainer_of, with_policy
from jobs.bench.rounds import Ratio, Round, figures, measure_of, ratio, ratio_fields, time_alternately
from tests.jobs.bench.test_policy_speed import prepared as prepared
from trainer.encode.policies import Policy
from trainer.loop.trainer import Trainer
from trainer.setup.prepare import Prepared

POLICIES: tuple[Policy, ...] = ("naive_per_target", "once", "cached", "accumulated")


@pytest.fixture
def trainers(prepared: Prepared) -> dict[str, Trainer]:
    """Trainers with six packed steps per epoch; `accumulated` updates the encoder every three."""
    config = replace(prepared.config, planner=replace(prepared.config.planner, accumulate_steps=3))
    return {policy: trainer_of(prepared, with_policy(config, policy)) for policy in POLICIES}


def test_rounds_are_complete_cycles_and_keep_state(trainers: dict[str, Trainer]) -> None:
    taken: list[str] = []
    for name, trainer in trainers.items():
        take = trainer.take_step

        def noted(step, name=name, take=take):  # type: ignore[no-untyped-def]
            taken.append(name)
            return take(step)

        trainer.take_step = noted  # type: ignore[method-assign]
    reported: list[tuple[int, int]] = []
    found = time_alternately(trainers, 2, steps=1, progress=lambda done, of: reported.append((done, of)))
    assert reported == [(done, 12) for done in range(1, 13)]
    packed = {name: [each.timed.packed_steps for each in every] for name, every in found.items()}
    assert packed == {"naive_per_target": [1, 1], "once": [1, 1], "cached": [3, 3], "accumulated": [3, 3]}
    assert trainers["cached"].position.epoch == 1  # nine steps: in the second epoch
    assert sum(each.encoded for each in found["cached"]) < sum(each.timed.asked for each in found["cached"])
    turns = [name for number, name in enumerate(taken) if number == 0 or taken[number - 1] != name]
    first, second, third = turns[:4], turns[4:8], turns[8:]
    assert (first[0], second[0], third[0]) == POLICIES[:3]  # the first policy changes
    assert {*first} == {*second} == {*third} == {*POLICIES}


def test_steps_that_naive_per_target_leaves_out_are_counted(trainers: dict[str, Trainer]) -> None:
    found = time_alternately(trainers, 2, steps=1, progress=lambda *_: None)
    for alone, once in zip(found["naive_per_target"], found["once"], strict=True):
        assert alone.timed.targets == 5 < alone.targets == once.targets  # run.samples_per_step of the same clicks
        assert alone.timed.encoded < alone.encoded
        assert once.timed.encoded == once.encoded


def of(encoded: int, seconds: float, *, targets: int = 10, processor: float | None = None) -> Round:
    used = seconds if processor is None else processor
    timed = Portion(targets=targets, encoded=encoded, seconds=seconds, processor_seconds=used)
    return Round(timed=timed, targets=targets, encoded=encoded)


def test_a_burst_of_other_work_does_not_move_the_median() -> None:
    slow, fast = [of(100, 10.0)] * 5, [of(10, 1.0)] * 5
    assert ratio(fast, slow, "wall") == Ratio(median=10.0, low=10.0, high=10.0)
    burst = [*fast[:4], of(10, 30.0)]
    found = ratio(burst, slow, "wall")
    assert found.median == 10.0
    assert not found.clear
    assert ratio_fields(found, "wall")["speed_up"] is None
    assert ratio_fields(found, "wall")["speed_up_low"] == pytest.approx(1 / 3)


def test_processor_seconds_are_stable_when_wall_time_is_not() -> None:
    slow = [of(100, 10.0 * load, processor=10.0) for load in (1, 3, 1, 2, 5)]
    fast = [of(10, 1.0 * load, processor=1.0) for load in (4, 1, 2, 6, 1)]
    assert ratio(fast, slow, "processor") == Ratio(median=10.0, low=10.0, high=10.0)
    assert not ratio(fast, slow, "wall").clear
    reported = figures(fast)
    assert reported["clicks_per_processor_second"] == pytest.approx(10.0)
    assert reported["processors"] == pytest.approx(5 / 14)


def test_rounds_of_different_content_are_compared_by_mean_encodes_per_click() -> None:
    even, uneven = [of(20, 2.0)] * 2, [of(10, 1.0), of(30, 3.0)]
    assert ratio(uneven, even, "wall") == Ratio(median=1.0, low=1.0, high=1.0)


@pytest.mark.parametrize(("low", "high", "clear"), [(7, 13, True), (6, 13, False), (7, 14, False)])
def test_rounds_more_than_a_third_from_the_median_do_not_agree(low: float, high: float, clear: bool) -> None:
    assert Ratio(median=10.0, low=low, high=high).clear is clear


def test_a_cpu_compares_by_processor_seconds(trainers: dict[str, Trainer]) -> None:
    assert measure_of(trainers["once"]) == "processor"
