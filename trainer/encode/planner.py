"""The planners of all policies: they decide for each step which items to encode, to look up and to back-propagate.

No decision depends on a tensor's value, so the loader thread plans ahead and the device never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.errors import ContractError
from trainer.encode.chunks import Chunk, chunks_of
from trainer.encode.cutting import ByLength, Cutter, IntArray
from trainer.encode.plan import (
    NEVER,
    BoolArray,
    Change,
    MaxAgeChange,
    Plan,
    Planner,
    PlannerState,
    RequestedItems,
    Waiting,
)
from trainer.encode.policies import (
    CPU_CHUNK_SIZES,
    ChooseRows,
    LeafRows,
    PlannerConfig,
    Policy,
    all_rows,
    distinct,
    occurrences,
    rank_of_each,
    stale_rows,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """The run and the token table that a planner plans for."""

    rows: int
    seed: int
    rank: int
    world: int
    cutter: Cutter
    tokens_V: IntArray


_RULES: dict[Policy, tuple[LeafRows, ChooseRows]] = {
    "naive_per_target": (occurrences, all_rows),
    "naive": (occurrences, all_rows),
    "once": (distinct, all_rows),
    "cached": (distinct, stale_rows),
}


class StepPlanner:
    """naive_per_target, naive, once, cached: items encoded in a step are back-propagated in the same step."""

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        self._config = config
        self._scope = scope
        self._state = PlannerState(last_encode_V=np.full(scope.rows, NEVER, np.int32))
        self._max_age_changes: tuple[MaxAgeChange, ...] = ()

    def lower_max_age(self, changes: Sequence[MaxAgeChange]) -> None:
        """See Planner.lower_max_age."""
        self._max_age_changes = tuple(changes)

    def _config_at(self, step: int) -> PlannerConfig:
        max_ages = [change.max_age_steps for change in self._max_age_changes if change.first_step <= step]
        return replace(self._config, max_age_steps=max_ages[-1]) if max_ages else self._config

    def plan(self, step: int, requested: RequestedItems, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        plan = self._decide(step, requested, last)
        self._state.apply(plan.change)
        return plan

    def state_dict(self) -> PlannerState:
        """See Planner.state_dict."""
        return self._state.copy()

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        if len(state.last_encode_V) != self._scope.rows:
            raise ContractError(
                f"planner state of {len(state.last_encode_V)} item rows, the token table has {self._scope.rows}"
            )
        self._state = state.copy()

    def _decide(self, step: int, requested: RequestedItems, _last: bool) -> Plan:
        rows_of, choose = _RULES[self._config.policy]
        rows_N, inverse_M = rows_of(requested[self._scope.rank])
        encode_N = choose(self._config_at(step), self._scope.seed, step, rows_N, self._state.last_encode_V[rows_N])
        return self._one_step_plan(step, rows_N, inverse_M, encode_N)

    def _one_step_plan(self, step: int, rows_N: IntArray, inverse_M: IntArray, encode_N: BoolArray) -> Plan:
        """The plan that reads `rows_N`, encodes the rows of `encode_N` and back-propagates them in the same step."""
        chunks = self._chunks(step, rows_N, encode_N)
        return Plan(
            step=step,
            rows_N=rows_N,
            inverse_M=inverse_M,
            read_rows=len(rows_N),
            age_L=step - self._state.last_encode_V[rows_N[~encode_N]],
            encode=chunks,
            backward=chunks,
            update_encoder=True,
            waiting=None,
            change=Change(step=step, encoded=rows_N[encode_N]),
        )

    def _chunks(self, step: int, rows_N: IntArray, encode_N: BoolArray) -> tuple[Chunk, ...]:
        """Chunks of the rows of `encode_N`."""
        slots = np.flatnonzero(encode_N)
        cuts = self._scope.cutter.cut(rows_N[slots])
        return chunks_of(cuts, rows_N[slots], slots, seed_parts=(self._scope.seed, step, self._scope.rank))


class SharedPlanner(StepPlanner):
    """once, cached over several ranks: one rank encodes each item that any rank requests, and ranks get equal tokens.

    Every rank decides on the requests of all ranks, so coins, ages and vector tables equal those of one process.
    """

    def _decide(self, step: int, requested: RequestedItems, _last: bool) -> Plan:
        scope, (_, choose), last_encode_V = self._scope, _RULES[self._config.policy], self._state.last_encode_V
        rows_N, _ = distinct(np.concatenate([requested[rank] for rank in range(scope.world)]))
        inverse_M = np.searchsorted(rows_N, requested[scope.rank])
        encode_N = choose(self._config_at(step), scope.seed, step, rows_N, last_encode_V[rows_N])
        own_N = encode_N.copy()
        own_N[encode_N] = rank_of_each(scope.tokens_V[rows_N[encode_N]], scope.world) == scope.rank
        read_N = np.zeros(len(rows_N), np.bool_)
        read_N[inverse_M] = True
        return replace(
            self._one_step_plan(step, rows_N, inverse_M, own_N),
            age_L=step - last_encode_V[rows_N[read_N & ~encode_N]],
            exchanged=np.flatnonzero(encode_N),
            change=Change(step=step, encoded=rows_N[encode_N]),
        )


class AccumulatedPlanner(StepPlanner):
    """accumulated: an item is encoded at its first request after an update of the encoder, and back-propagated at the
    next update with the sum of the gradients that it received in between (GRAM, multi-step)."""

    def _decide(self, step: int, requested: RequestedItems, last: bool) -> Plan:
        start, window = self._state.window_start, self._state.window
        rows_N, inverse_M = distinct(requested[self._scope.rank])
        plan = self._one_step_plan(step, rows_N, inverse_M, self._state.last_encode_V[rows_N] < start)
        update = last or step + 1 - start >= self._config.accumulate_steps
        backward: tuple[Chunk, ...] = ()
        if update:
            waiting = np.concatenate([rows_N[:0], *(chunk.item_rows for chunk in window)])
            rows_N = np.concatenate([rows_N, np.setdiff1d(waiting, rows_N)])
            backward = (*plan.encode, *_with_slots_in(rows_N, window))
            start, window = step + 1, ()
        else:
            window = (*window, *plan.encode)
        update_N = np.full(len(rows_N), update)
        return replace(
            plan,
            rows_N=rows_N,
            backward=backward,
            update_encoder=update,
            waiting=Waiting(keep_N=~update_N, collect_N=update_N, clear_N=update_N, per_count=False),
            change=replace(plan.change, window_start=start, window=window),
        )


class CarriedPlanner(StepPlanner):
    """carried: encodes as `cached`; gradients of an item's look-ups wait and are back-propagated at its next encode.

    feedloop's own. The last step of an epoch encodes every item for which a gradient waits.
    """

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        super().__init__(config, scope)
        self._state.waiting_since_V = np.full(scope.rows, NEVER, np.int32)

    @property
    def _since_V(self) -> IntArray:
        assert self._state.waiting_since_V is not None, "set in __init__ and load_state_dict"
        return self._state.waiting_since_V

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        super().load_state_dict(state)
        if self._state.waiting_since_V is None:
            self._state.waiting_since_V = np.full(self._scope.rows, NEVER, np.int32)

    def _decide(self, step: int, requested: RequestedItems, last: bool) -> Plan:
        rows_N, inverse_M = distinct(requested[self._scope.rank])
        read_rows = len(rows_N)
        if last:
            rows_N = np.concatenate([rows_N, np.setdiff1d(np.flatnonzero(self._since_V != NEVER), rows_N)])
            encode_N = np.ones(len(rows_N), np.bool_)
        else:
            last_encode_N = self._state.last_encode_V[rows_N]
            encode_N = stale_rows(self._config_at(step), self._scope.seed, step, rows_N, last_encode_N)
        plan = self._one_step_plan(step, rows_N, inverse_M, encode_N)
        waiting, since_N = self._waiting(step, rows_N, encode_N)
        change = replace(plan.change, since_rows=rows_N, since=since_N)
        return replace(plan, read_rows=read_rows, waiting=waiting, change=change)

    def _waiting(self, step: int, rows_N: IntArray, encode_N: BoolArray) -> tuple[Waiting, IntArray]:
        """(what happens to the waiting gradients, each row's new `waiting_since_V`)."""
        since_N = self._since_V[rows_N]
        max_age = self._config.carry_max_age_steps or step + 1
        waits_N = since_N != NEVER
        too_old_N = waits_N & (step - since_N > max_age)
        collect_N = encode_N & waits_N & ~too_old_N
        clear_N = collect_N | too_old_N
        new_since_N = np.where(encode_N, NEVER, np.where(clear_N | ~waits_N, step, since_N))
        return Waiting(keep_N=~encode_N, collect_N=collect_N, clear_N=clear_N, per_count=True), new_since_N


def make_planner(
    config: PlannerConfig,
    *,
    rows: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    cutter: Cutter | None = None,
    tokens_V: IntArray | None = None,
) -> Planner:
    """The planner of the config's policy. `rows` = V. `cutter`: None = the config's chunk sizes, in the given order.
    `tokens_V`: tokens of each item, which ranks that share encoding divide; None = equal."""
    planners = {"accumulated": AccumulatedPlanner, "carried": CarriedPlanner}
    cutter = cutter or ByLength(config.chunk_sizes or CPU_CHUNK_SIZES)
    tokens_V = np.ones(rows, np.int64) if tokens_V is None else tokens_V
    scope = _Scope(rows=rows, seed=seed, rank=rank, world=world, cutter=cutter, tokens_V=tokens_V)
    if config.share_encoding and world > 1:
        return SharedPlanner(config, scope)
    return planners.get(config.policy, StepPlanner)(config, scope)


def _with_slots_in(rows_N: IntArray, chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """Chunks of earlier steps with slots that point at `rows_N`, which holds all their rows."""
    order = np.argsort(rows_N, kind="stable")
    return tuple(
        replace(chunk, slots=order[np.searchsorted(rows_N, chunk.item_rows, sorter=order)]) for chunk in chunks
    )
