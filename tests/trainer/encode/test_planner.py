"""Planner decisions against a slow, obvious simulation of the papers' rules."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ContractError
from trainer.encode.chunks import chunks_of, hash64
from trainer.encode.cutting import ByLength
from trainer.encode.plan import NEVER, Plan, PlannerState
from trainer.encode.planner import make_planner
from trainer.encode.policies import PlannerConfig, Policy

V = 40
BATCHES = st.lists(st.lists(st.integers(1, V - 1), min_size=0, max_size=30), min_size=1, max_size=12)


def chosen(plan: Plan) -> list[int]:
    """Item rows encoded by the plan, from its chunks alone."""
    return sorted(int(row) for chunk in plan.encode for row in chunk.rows_C[: len(chunk.slots)])


def plans(config: PlannerConfig, batches: list[list[int]], *, seed: int = 7) -> list[Plan]:
    planner = make_planner(config, rows=V, seed=seed)
    return [planner.plan(step, [np.array(batch, np.int32)]) for step, batch in enumerate(batches)]


@settings(max_examples=60, deadline=None)
@given(BATCHES, st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from(["item", "batch"]))
def test_cached_encodes_what_the_rules_say(batches: list[list[int]], max_age: int, max_reuse: float, coin: str) -> None:
    config = PlannerConfig(
        policy="cached",
        max_age_steps=max_age,
        max_reuse=max_reuse,
        warm_up_steps=3,
        coin="item" if coin == "item" else "batch",
    )
    encoded_at: dict[int, int] = {}
    state = make_planner(config, rows=V, seed=7).state_dict()
    for step, (batch, plan) in enumerate(zip(batches, plans(config, batches), strict=True)):
        p = max_reuse * (1 - math.exp(-2.3 / 3 * step))
        wanted = []
        for row in sorted(set(batch)):
            young = row in encoded_at and step - encoded_at[row] <= max_age
            toss = int(hash64(7, step, row) if coin == "item" else hash64(7, step)) / 2**64
            if not young or toss >= p:
                wanted.append(row)
                encoded_at[row] = step
        assert chosen(plan) == wanted
        assert plan.backward == plan.encode
        state.apply(plan.change)
        assert {row: int(at) for row, at in enumerate(state.last_encode_V) if at != NEVER} == encoded_at


@given(BATCHES)
def test_once_encodes_each_distinct_item_and_naive_each_occurrence(batches: list[list[int]]) -> None:
    for batch, once, naive in zip(
        batches,
        plans(PlannerConfig(policy="once"), batches),
        plans(PlannerConfig(policy="naive"), batches),
        strict=True,
    ):
        assert chosen(once) == sorted(set(batch))
        assert chosen(naive) == sorted(batch)
        for plan in (once, naive):
            assert plan.rows_N[plan.inverse_M].tolist() == batch
            assert sorted(slot for chunk in plan.encode for slot in chunk.slots) == list(range(len(plan.rows_N)))


def test_reuse_approaches_its_limit_and_tosses_differ_by_row_and_step() -> None:
    config = PlannerConfig(policy="cached", max_age_steps=10**6, max_reuse=0.9, warm_up_steps=1)
    planner = make_planner(config, rows=20_000, seed=1)
    rows = [np.arange(1, 20_000)]
    shares = [planner.plan(step, rows).encoded / 19_999 for step in range(30)]
    assert shares[0] == 1.0
    assert abs(np.mean(shares[5:]) - 0.1) < 0.005


def test_a_state_of_another_token_table_raises_an_error() -> None:
    state = make_planner(PlannerConfig(), rows=5, seed=1).state_dict()
    with pytest.raises(ContractError, match="5 item rows, the token table has 6"):
        make_planner(PlannerConfig(), rows=6, seed=1).load_state_dict(state)


def test_ranks_plan_their_own_rows_with_their_own_seeds() -> None:
    asked = [np.array([1, 2, 3]), np.array([3, 4])]
    plan_of = [make_planner(PlannerConfig(policy="once"), rows=V, seed=1, rank=rank).plan(0, asked) for rank in (0, 1)]
    assert [chosen(plan) for plan in plan_of] == [[1, 2, 3], [3, 4]]
    assert plan_of[0].encode[0].seed != plan_of[1].encode[0].seed


@given(st.integers(0, 400), st.lists(st.integers(1, 130), min_size=1, max_size=3))
def test_chunks_hold_every_row_once_in_the_sizes_allowed(count: int, sizes: list[int]) -> None:
    rows, slots = np.arange(1, count + 1), np.arange(count)[::-1]
    chunks = chunks_of(ByLength(sizes).cut(rows), rows, slots, seed_parts=(1, 2))
    assert [int(r) for c in chunks for r in c.rows_C[: len(c.slots)]] == rows.tolist()
    assert [int(s) for c in chunks for s in c.slots] == slots.tolist()
    assert {len(c.rows_C) for c in chunks} <= set(sizes)
    assert all((c.rows_C[len(c.slots) :] == 0).all() for c in chunks)
    assert len({c.seed for c in chunks}) == len(chunks)


@pytest.mark.parametrize(
    ("values", "advice"),
    [({"max_age_steps": -1}, "use 0"), ({"max_reuse": 1.5}, "0 to 1"), ({"warm_up_steps": 0}, "1 or more")],
)
def test_impossible_settings_raise_an_error_with_advice(values: dict[str, int], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        PlannerConfig(**values)  # type: ignore[arg-type]


def test_policies_are_those_that_the_type_names() -> None:
    from typing import get_args

    from trainer.loop.steps import SHAPES

    assert set(SHAPES) == {"naive_per_target", "naive"} < set(get_args(Policy))  # the others train on shared items
    for policy in get_args(Policy):
        make_planner(PlannerConfig(policy=policy), rows=V, seed=1).plan(0, [np.array([1, 2])])


@settings(max_examples=60)
@given(BATCHES, st.integers(1, 5), st.integers(1, 12))
def test_accumulated_encodes_at_the_first_request_and_back_propagates_at_the_update(
    batches: list[list[int]], every: int, epoch: int
) -> None:
    config = PlannerConfig(policy="accumulated", accumulate_steps=every, chunk_sizes=(4, 2))
    planner = make_planner(config, rows=V, seed=7)
    touched: list[int] = []  # since the last update
    waiting: set[int] = set()
    begun = 0
    for step, batch in enumerate(batches):
        last = (step + 1) % epoch == 0
        plan = planner.plan(step, [np.array(batch, np.int32)], last=last)
        mine = sorted(set(batch))
        assert chosen(plan) == [row for row in mine if row not in touched]
        touched += chosen(plan)
        assert plan.rows_N[: plan.read_rows].tolist() == mine
        assert plan.rows_N[plan.inverse_M].tolist() == batch
        assert plan.waiting is not None
        updates = last or step - begun + 1 == every
        assert plan.update_encoder == updates
        if updates:
            back = [int(plan.rows_N[slot]) for chunk in plan.backward for slot in chunk.slots]
            again = [int(row) for chunk in plan.backward for row in chunk.rows_C[: chunk.items]]
            assert back == again
            assert sorted(back) == sorted(touched)
            assert len(plan.rows_N) == len(set(plan.rows_N.tolist()))
            assert waiting <= set(plan.rows_N[plan.waiting.collect_N].tolist())
            assert set(touched) == set(plan.rows_N[plan.waiting.clear_N].tolist())
            touched, waiting, begun = [], set(), step + 1
        else:
            assert plan.backward == ()
            assert plan.waiting.keep_N.all()
            waiting |= set(mine)


@settings(max_examples=60)
@given(BATCHES, st.integers(0, 6), st.integers(0, 6), st.integers(1, 12))
def test_carried_collects_the_gradients_of_look_ups(
    batches: list[list[int]], max_age: int, carry: int, epoch: int
) -> None:
    rules = {"max_age_steps": max_age, "max_reuse": 0.7, "warm_up_steps": 1}
    planner = make_planner(PlannerConfig(policy="carried", carry_max_age_steps=carry, **rules), rows=V, seed=7)  # type: ignore[arg-type]
    encoded_at: dict[int, int] = {}
    since: dict[int, int] = {}
    for step, batch in enumerate(batches):
        last = (step + 1) % epoch == 0
        plan = planner.plan(step, [np.array(batch, np.int32)], last=last)
        p = 0.7 * (1 - math.exp(-2.3 * step))
        fresh = {
            row
            for row in set(batch)
            if row not in encoded_at or step - encoded_at[row] > max_age or int(hash64(7, step, row)) / 2**64 >= p
        }
        if last:
            fresh = set(batch) | set(since)
        too_old = {row for row in set(batch) | fresh if row in since and carry and step - since[row] > carry}
        assert chosen(plan) == sorted(fresh)
        assert plan.backward == plan.encode
        assert plan.waiting is not None
        kept, collected, cleared = (
            set(plan.rows_N[mask].tolist())
            for mask in (plan.waiting.keep_N, plan.waiting.collect_N, plan.waiting.clear_N)
        )
        assert kept == set(batch) - fresh
        assert collected == {row for row in fresh if row in since} - too_old
        assert cleared == collected | too_old
        assert plan.dropped == len(too_old)
        assert sorted(plan.age_L.tolist()) == sorted(step - encoded_at[row] for row in kept)
        encoded_at |= dict.fromkeys(fresh, step)
        since = {row: at for row, at in since.items() if row not in cleared}
        since |= {row: step for row in kept if row not in since}
        assert not (last and since)


@pytest.mark.parametrize("policy", ["once", "cached", "accumulated", "carried"])
def test_a_plan_does_not_grow_with_the_number_of_items(policy: Policy) -> None:
    """A step costs the same for any V: it makes no array of that length."""
    sizes = []
    for rows in (50, 50_000):
        planner = make_planner(PlannerConfig(policy=policy, chunk_sizes=(4,)), rows=rows, seed=7)
        planner.plan(0, [np.arange(1, 30)])
        sizes.append(len(pickle.dumps(planner.plan(1, [np.arange(1, 30)]))))
    assert sizes[0] == sizes[1] < 10_000


@pytest.mark.parametrize("policy", ["cached", "accumulated", "carried"])
@pytest.mark.parametrize("at", [4, 5, 6])
def test_a_resumed_planner_decides_the_same(policy: Policy, at: int) -> None:
    rng = np.random.default_rng(0)
    batches = [rng.integers(1, V, 20) for _ in range(12)]
    config = PlannerConfig(policy=policy, max_age_steps=3, accumulate_steps=3, chunk_sizes=(4,))
    first, again = make_planner(config, rows=V, seed=7), make_planner(config, rows=V, seed=7)
    state = first.state_dict()
    uninterrupted = [first.plan(step, [batch], last=step == 7) for step, batch in enumerate(batches)]
    for plan in uninterrupted[: at + 1]:
        state.apply(plan.change)
    again.load_state_dict(PlannerState.from_arrays(state.arrays()))
    for step in range(at + 1, 12):
        plan = again.plan(step, [batches[step]], last=step == 7)
        for mine, theirs in ((plan.encode, uninterrupted[step].encode), (plan.backward, uninterrupted[step].backward)):
            assert [chunk.seed for chunk in mine] == [chunk.seed for chunk in theirs]
            assert [chunk.rows_C.tolist() for chunk in mine] == [chunk.rows_C.tolist() for chunk in theirs]
            assert [chunk.slots.tolist() for chunk in mine] == [chunk.slots.tolist() for chunk in theirs]
        assert plan.rows_N.tolist() == uninterrupted[step].rows_N.tolist()


@settings(max_examples=60)
@given(BATCHES, st.integers(2, 5), st.sampled_from(["once", "cached"]), st.booleans())
def test_ranks_that_share_encoding_divide_the_tokens_of_one_process(
    batches: list[list[int]], world: int, policy: Policy, with_lengths: bool
) -> None:
    """Each batch is dealt to the ranks; ages and coins are those of one process that has all of it."""
    length_V = np.random.default_rng(5).integers(3, 40, V) if with_lengths else None
    config = PlannerConfig(policy=policy, max_age_steps=2, warm_up_steps=1, share_encoding=True, chunk_sizes=(4, 2))
    alone = make_planner(config, rows=V, seed=7, tokens_V=length_V)
    ranks = [make_planner(config, rows=V, seed=7, rank=r, world=world, tokens_V=length_V) for r in range(world)]
    for step, batch in enumerate(batches):
        asked = [np.array(batch[rank::world], np.int64) for rank in range(world)]
        one = alone.plan(step, [np.array(batch, np.int64)])
        every = [planner.plan(step, asked) for planner in ranks]
        encoded = [chosen(plan) for plan in every]
        assert sorted(row for rows in encoded for row in rows) == chosen(one)
        assert max(map(len, encoded)) - min(map(len, encoded)) <= 1
        if length_V is not None:
            tokens = [int(length_V[rows].sum()) for rows in encoded]
            assert max(tokens) - min(tokens) <= length_V.max()
        for plan, own in zip(every, asked, strict=True):
            assert plan.rows_N[plan.inverse_M].tolist() == own.tolist()
            assert plan.exchanged is not None
            assert plan.rows_N[plan.exchanged].tolist() == chosen(one)
    states = [planner.state_dict().last_encode_V.tolist() for planner in (alone, *ranks)]
    assert all(state == states[0] for state in states)
