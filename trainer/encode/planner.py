"""Planners: for each step, which items to encode, to look up and to back-propagate.

Nothing here depends on a tensor's value, so the loader thread plans ahead and the device never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.errors import ContractError
from trainer.encode.chunks import Chunk, IntArray, cut_chunks
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
from trainer.encode.policies import Choose, PlannerConfig, Policy, Rows, all_rows, distinct, occurrences, stale_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    """What a planner knows of its run and of the token table."""

    rows: int
    seed: int
    rank: int
    world: int
    cost_V: IntArray | None


_RULES: dict[Policy, tuple[Rows, Choose]] = {
    "naive_per_target": (occurrences, all_rows),
    "naive": (occurrences, all_rows),
    "once": (distinct, all_rows),
    "cached": (distinct, stale_rows),
}


class StepPlanner:
    """naive_per_target, naive, once, cached: what is encoded in a step is back-propagated in it."""

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        self._config = config
        self._scope = scope
        self._state = PlannerState(last_encode_V=np.full(scope.rows, NEVER, np.int32))
        self._shortened: tuple[MaxAgeChange, ...] = ()

    def shorten(self, changes: Sequence[MaxAgeChange]) -> None:
        """See Planner.shorten."""
        self._shortened = tuple(changes)

    def _rules_at(self, step: int) -> PlannerConfig:
        lived = [change.max_age_steps for change in self._shortened if change.first_step <= step]
        return replace(self._config, max_age_steps=lived[-1]) if lived else self._config

    def plan(self, step: int, asked: RequestedItems, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        plan = self._decided(step, asked, last)
        self._state.move_on(plan.change)
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

    def _decided(self, step: int, asked: RequestedItems, _last: bool) -> Plan:
        rows_of, choose = _RULES[self._config.policy]
        rows_N, inverse_M = rows_of(asked[self._scope.rank])
        encode_N = choose(self._rules_at(step), self._scope.seed, step, rows_N, self._state.last_encode_V[rows_N])
        return self._planned(step, rows_N, inverse_M, encode_N)

    def _planned(self, step: int, rows_N: IntArray, inverse_M: IntArray, encode_N: BoolArray) -> Plan:
        """The plan that reads `rows_N` and encodes the chosen ones, each back-propagated in this very step."""
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
        """The chosen rows in chunks of like length."""
        slots = np.flatnonzero(encode_N)
        if self._scope.cost_V is not None:
            slots = slots[np.argsort(self._scope.cost_V[rows_N[slots]], kind="stable")]
        seed_parts = (self._scope.seed, step, self._scope.rank)
        return cut_chunks(rows_N[slots], slots, sizes=self._config.chunk_sizes, seed_parts=seed_parts)


class SharedPlanner(StepPlanner):
    """once, cached over several ranks: what any of them asks for is encoded by one, its row modulo their number.

    Every rank decides the same of all that is asked, so that coins, ages and tables are those of one process.
    """

    def _decided(self, step: int, asked: RequestedItems, _last: bool) -> Plan:
        scope, (_, choose), last_encode_V = self._scope, _RULES[self._config.policy], self._state.last_encode_V
        rows_N, _ = distinct(np.concatenate([asked[rank] for rank in range(scope.world)]))
        inverse_M = np.searchsorted(rows_N, asked[scope.rank])
        encode_N = choose(self._rules_at(step), scope.seed, step, rows_N, last_encode_V[rows_N])
        read_N = np.zeros(len(rows_N), np.bool_)
        read_N[inverse_M] = True
        return replace(
            self._planned(step, rows_N, inverse_M, encode_N & (rows_N % scope.world == scope.rank)),
            age_L=step - last_encode_V[rows_N[read_N & ~encode_N]],
            exchanged=np.flatnonzero(encode_N),
            change=Change(step=step, encoded=rows_N[encode_N]),
        )


class AccumulatedPlanner(StepPlanner):
    """accumulated: an item is encoded when first touched since the encoder's last update, and back-propagated at the
    next one, with the sum of the gradients that it received since (GRAM, multi-step)."""

    def _decided(self, step: int, asked: RequestedItems, last: bool) -> Plan:
        start, window = self._state.window_start, self._state.window
        rows_N, inverse_M = distinct(asked[self._scope.rank])
        plan = self._planned(step, rows_N, inverse_M, self._state.last_encode_V[rows_N] < start)
        ends = last or step + 1 - start >= self._config.accumulate_steps
        backward: tuple[Chunk, ...] = ()
        if ends:
            rows_N = np.concatenate([rows_N, np.setdiff1d(_rows_of(window), rows_N)])
            backward = (*plan.encode, *_placed(window, rows_N))
            start, window = step + 1, ()
        else:
            window = (*window, *plan.encode)
        go_home_N = np.full(len(rows_N), ends)
        return replace(
            plan,
            rows_N=rows_N,
            backward=backward,
            update_encoder=ends,
            waiting=Waiting(keep_N=~go_home_N, collect_N=go_home_N, clear_N=go_home_N, per_count=False),
            change=replace(plan.change, window_start=start, window=window),
        )


class CarriedPlanner(StepPlanner):
    """carried: encodes as `cached`; the gradient that an item's look-ups leave behind goes along at its next encode.

    feedloop's own. The last step of an epoch encodes everything for which a gradient waits.
    """

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        super().__init__(config, scope)
        self._state.waiting_since_V = np.full(scope.rows, NEVER, np.int32)

    @property
    def _since_V(self) -> IntArray:
        assert self._state.waiting_since_V is not None, "made with the planner"
        return self._state.waiting_since_V

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        super().load_state_dict(state)
        if self._state.waiting_since_V is None:
            self._state.waiting_since_V = np.full(self._scope.rows, NEVER, np.int32)

    def _decided(self, step: int, asked: RequestedItems, last: bool) -> Plan:
        rows_N, inverse_M = distinct(asked[self._scope.rank])
        read_rows = len(rows_N)
        if last:
            rows_N = np.concatenate([rows_N, np.setdiff1d(np.flatnonzero(self._since_V != NEVER), rows_N)])
            encode_N = np.ones(len(rows_N), np.bool_)
        else:
            encoded_N = self._state.last_encode_V[rows_N]
            encode_N = stale_rows(self._rules_at(step), self._scope.seed, step, rows_N, encoded_N)
        plan = self._planned(step, rows_N, inverse_M, encode_N)
        waiting, since_N = self._waiting(step, rows_N, encode_N)
        change = replace(plan.change, since_rows=rows_N, since=since_N)
        return replace(plan, read_rows=read_rows, waiting=waiting, change=change)

    def _waiting(self, step: int, rows_N: IntArray, encode_N: BoolArray) -> tuple[Waiting, IntArray]:
        """What becomes of the waiting gradients, and of which step each row's oldest one then is."""
        since_N = self._since_V[rows_N]
        oldest = self._config.carry_max_age_steps or step + 1
        too_old_N = (since_N != NEVER) & (step - since_N > oldest)
        collect_N = encode_N & (since_N != NEVER) & ~too_old_N
        clear_N = collect_N | too_old_N
        after_N = np.where(encode_N, NEVER, np.where(clear_N | (since_N == NEVER), step, since_N))
        return Waiting(keep_N=~encode_N, collect_N=collect_N, clear_N=clear_N, per_count=True), after_N


def planner_of(
    config: PlannerConfig, *, rows: int, seed: int, rank: int = 0, world: int = 1, cost_V: IntArray | None = None
) -> Planner:
    """The planner of the config's policy. `rows` = V; `cost_V` = tokens of each item: like lengths share a chunk."""
    planners = {"accumulated": AccumulatedPlanner, "carried": CarriedPlanner}
    scope = _Scope(rows=rows, seed=seed, rank=rank, world=world, cost_V=cost_V)
    if config.share_encoding and world > 1:
        return SharedPlanner(config, scope)
    return planners.get(config.policy, StepPlanner)(config, scope)


def _rows_of(chunks: Sequence[Chunk]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(chunk.rows_C[: chunk.items] for chunk in chunks)])


def _placed(chunks: Sequence[Chunk], rows_N: IntArray) -> tuple[Chunk, ...]:
    """Chunks of earlier steps, their slots pointing at `rows_N`, which holds all their rows."""
    order = np.argsort(rows_N, kind="stable")
    return tuple(
        replace(chunk, slots=order[np.searchsorted(rows_N, chunk.rows_C[: chunk.items], sorter=order)])
        for chunk in chunks
    )
