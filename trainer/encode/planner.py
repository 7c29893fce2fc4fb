"""Planners: for each step, which items to encode, to look up and to back-propagate.

Nothing here depends on a tensor's value, so the loader thread plans ahead and the device never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas.errors import ContractError
from trainer.encode.chunks import Chunk, IntArray, cut_chunks
from trainer.encode.plan import NEVER, Asked, BoolArray, Plan, Planner, PlannerState, Shortening, Waiting
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
        self._last_encode_V: IntArray = np.full(scope.rows, NEVER, np.int32)
        self._shortened: tuple[Shortening, ...] = ()

    def shorten(self, changes: Sequence[Shortening]) -> None:
        """See Planner.shorten."""
        self._shortened = tuple(changes)

    def _rules_at(self, step: int) -> PlannerConfig:
        lived = [change.max_age_steps for change in self._shortened if change.first_step <= step]
        return replace(self._config, max_age_steps=lived[-1]) if lived else self._config

    def plan(self, step: int, asked: Asked, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        rows_of, choose = _RULES[self._config.policy]
        rows_N, inverse_M = rows_of(asked[self._scope.rank])
        encode_N = choose(self._rules_at(step), self._scope.seed, step, rows_N, self._last_encode_V[rows_N])
        return self._planned(step, rows_N, inverse_M, encode_N)

    def state_dict(self) -> PlannerState:
        """See Planner.state_dict."""
        return PlannerState(last_encode_V=self._last_encode_V.copy())

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        if len(state.last_encode_V) != self._scope.rows:
            raise ContractError(
                f"planner state of {len(state.last_encode_V)} item rows, the token table has {self._scope.rows}"
            )
        self._last_encode_V = state.last_encode_V.copy()

    def _planned(self, step: int, rows_N: IntArray, inverse_M: IntArray, encode_N: BoolArray) -> Plan:
        """The plan that reads `rows_N` and encodes the chosen ones, each back-propagated in this very step."""
        age_L = step - self._last_encode_V[rows_N[~encode_N]]
        chunks = self._chunks(step, rows_N, encode_N)
        return Plan(
            step=step,
            rows_N=rows_N,
            inverse_M=inverse_M,
            read_rows=len(rows_N),
            age_L=age_L,
            encode=chunks,
            backward=chunks,
            update_encoder=True,
            waiting=None,
            state=self.state_dict(),
        )

    def _chunks(self, step: int, rows_N: IntArray, encode_N: BoolArray) -> tuple[Chunk, ...]:
        """The chosen rows in chunks of like length; from now on they count as encoded in `step`."""
        slots = np.flatnonzero(encode_N)
        if self._scope.cost_V is not None:
            slots = slots[np.argsort(self._scope.cost_V[rows_N[slots]], kind="stable")]
        self._last_encode_V[rows_N[slots]] = step
        seed_parts = (self._scope.seed, step, self._scope.rank)
        return cut_chunks(rows_N[slots], slots, sizes=self._config.chunk_sizes, seed_parts=seed_parts)


class SharedPlanner(StepPlanner):
    """once, cached over several ranks: what any of them asks for is encoded by one, its row modulo their number.

    Every rank decides the same of all that is asked, so that coins, ages and tables are those of one process.
    """

    def plan(self, step: int, asked: Asked, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        scope, (_, choose) = self._scope, _RULES[self._config.policy]
        rows_N, _ = distinct(np.concatenate([asked[rank] for rank in range(scope.world)]))
        inverse_M = np.searchsorted(rows_N, asked[scope.rank])
        encode_N = choose(self._rules_at(step), scope.seed, step, rows_N, self._last_encode_V[rows_N])
        read_N = np.zeros(len(rows_N), np.bool_)
        read_N[inverse_M] = True
        age_L = step - self._last_encode_V[rows_N[read_N & ~encode_N]]
        plan = self._planned(step, rows_N, inverse_M, encode_N & (rows_N % scope.world == scope.rank))
        self._last_encode_V[rows_N[encode_N]] = step
        return replace(plan, age_L=age_L, exchanged=np.flatnonzero(encode_N), state=self.state_dict())


class AccumulatedPlanner(StepPlanner):
    """accumulated: an item is encoded when first touched since the encoder's last update, and back-propagated at the
    next one, with the sum of the gradients that it received since (GRAM, multi-step)."""

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        super().__init__(config, scope)
        self._start = 0
        self._window: tuple[Chunk, ...] = ()

    def plan(self, step: int, asked: Asked, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        rows_N, inverse_M = distinct(asked[self._scope.rank])
        plan = self._planned(step, rows_N, inverse_M, self._last_encode_V[rows_N] < self._start)
        ends = last or step + 1 - self._start >= self._config.accumulate_steps
        backward: tuple[Chunk, ...] = ()
        if ends:
            rows_N = np.concatenate([rows_N, np.setdiff1d(_rows_of(self._window), rows_N)])
            backward = (*plan.encode, *_placed(self._window, rows_N))
            self._start, self._window = step + 1, ()
        else:
            self._window = (*self._window, *plan.encode)
        go_home_N = np.full(len(rows_N), ends)
        return replace(
            plan,
            rows_N=rows_N,
            backward=backward,
            update_encoder=ends,
            waiting=Waiting(keep_N=~go_home_N, collect_N=go_home_N, clear_N=go_home_N, per_count=False),
            state=self.state_dict(),
        )

    def state_dict(self) -> PlannerState:
        """See Planner.state_dict."""
        return replace(super().state_dict(), window_start=self._start, window=self._window)

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        super().load_state_dict(state)
        self._start, self._window = state.window_start, state.window


class CarriedPlanner(StepPlanner):
    """carried: encodes as `cached`; the gradient that an item's look-ups leave behind goes along at its next encode.

    feedloop's own. The last step of an epoch encodes everything for which a gradient waits.
    """

    def __init__(self, config: PlannerConfig, scope: _Scope) -> None:
        super().__init__(config, scope)
        self._since_V: IntArray = np.full(scope.rows, NEVER, np.int32)

    def plan(self, step: int, asked: Asked, *, last: bool = False) -> Plan:
        """See Planner.plan."""
        rows_N, inverse_M = distinct(asked[self._scope.rank])
        read_rows = len(rows_N)
        if last:
            rows_N = np.concatenate([rows_N, np.setdiff1d(np.flatnonzero(self._since_V != NEVER), rows_N)])
            encode_N = np.ones(len(rows_N), np.bool_)
        else:
            encode_N = stale_rows(self._rules_at(step), self._scope.seed, step, rows_N, self._last_encode_V[rows_N])
        plan = self._planned(step, rows_N, inverse_M, encode_N)
        waiting = self._waiting(step, rows_N, encode_N)
        return replace(plan, read_rows=read_rows, waiting=waiting, state=self.state_dict())

    def _waiting(self, step: int, rows_N: IntArray, encode_N: BoolArray) -> Waiting:
        since_N = self._since_V[rows_N]
        oldest = self._config.carry_max_age_steps or step + 1
        too_old_N = (since_N != NEVER) & (step - since_N > oldest)
        collect_N = encode_N & (since_N != NEVER) & ~too_old_N
        clear_N = collect_N | too_old_N
        self._since_V[rows_N] = np.where(encode_N, NEVER, np.where(clear_N | (since_N == NEVER), step, since_N))
        return Waiting(keep_N=~encode_N, collect_N=collect_N, clear_N=clear_N, per_count=True)

    def state_dict(self) -> PlannerState:
        """See Planner.state_dict."""
        return replace(super().state_dict(), waiting_since_V=self._since_V.copy())

    def load_state_dict(self, state: PlannerState) -> None:
        """See Planner.load_state_dict."""
        super().load_state_dict(state)
        if state.waiting_since_V is None:
            self._since_V = np.full(self._scope.rows, NEVER, np.int32)
        else:
            self._since_V = state.waiting_since_V.copy()


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
