"""Staleness: how far looked-up vectors are from fresh ones, on a sample of steps; acts on planner.drift_limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.encode.chunks import hash64
from trainer.encode.cutting import IntArray
from trainer.encode.plan import MaxAgeChange, Plan, Planner
from trainer.encode.policies import PlannerConfig
from trainer.model.item_input import ItemInput, on_device
from trainer.model.text_encoder import TextEncoder
from trainer.ranks.process_group import summed

SAMPLE = 128  # rows of each kind that are encoded again: two chunks, for an error of a tenth


@dataclass(frozen=True, slots=True)
class Drift:
    """Distances from fresh vectors (root mean square) ÷ the spread of fresh vectors around their mean."""

    looked_up: float
    encoded: float
    """of vectors encoded in this very step: dropout and one update, which no cache can avoid"""


def measure_drift(encoder: TextEncoder, items: ItemInput, vector_VD: Tensor, plan: Plan) -> Drift | None:
    """After a step, encode a sample of its items again, without dropout, and compare; None where nothing was looked up.

    Draws nothing from torch's generators, so that a run takes the same steps with and without the watch.
    """
    encoded = np.concatenate([np.zeros(0, np.int64), *(chunk.rows_C[: chunk.items] for chunk in plan.encode)])
    fresh_N = encoded if plan.exchanged is None else plan.rows_N[plan.exchanged]
    looked_up = np.setdiff1d(plan.rows_N[: plan.read_rows], fresh_N)
    if len(looked_up) < 2 or len(encoded) < 2:
        return None
    was_training = encoder.training
    encoder.eval()
    distances, fresh = [], []
    with torch.no_grad():
        for rows in (_sample(looked_up, plan.step), _sample(encoded, plan.step)):
            now_CD = encoder(rows, items)
            distances.append(float((vector_VD[on_device(rows, items.device)] - now_CD).square().sum(-1).mean().sqrt()))
            fresh.append(now_CD)
    encoder.train(was_training)
    all_ND = torch.cat(fresh)
    spread = float((all_ND - all_ND.mean(0)).square().sum(-1).mean().sqrt())
    return Drift(*(distance / max(spread, 1e-12) for distance in distances))


def over_ranks(drift: Drift | None) -> Drift | None:
    """The mean over the ranks that found something to compare, the same on each of them."""
    found = (drift.looked_up, drift.encoded, 1.0) if drift else (0.0, 0.0, 0.0)
    looked_up, encoded, ranks = summed(found)
    return Drift(looked_up / ranks, encoded / ranks) if ranks else None


def _sample(rows: IntArray, step: int) -> IntArray:
    order = np.argsort(hash64(step, rows), kind="stable")
    return np.asarray(rows[order[:SAMPLE]], np.int64)


class StalenessWatch:
    """Halves the age limit of cached vectors when they drift past the limit; its changes are part of a checkpoint."""

    def __init__(self, config: PlannerConfig, planner: Planner, *, plan_ahead: int) -> None:
        self._config = config
        self._planner = planner
        self._delay = plan_ahead + 2  # steps that may be planned already: those waiting, the one being handed over
        self.changes: list[MaxAgeChange] = []

    @property
    def max_age_steps(self) -> int:
        """The age limit as decided last."""
        return self.changes[-1].max_age_steps if self.changes else self._config.max_age_steps

    def max_age_at(self, step: int) -> int:
        """The age limit in force in this step."""
        changed = [change.max_age_steps for change in self.changes if change.first_step <= step]
        return changed[-1] if changed else self._config.max_age_steps

    def apply(self, drift: Drift, step: int) -> None:
        """Decide after `step`; the change takes effect in the first step that cannot have been planned yet."""
        limit, age = self._config.drift_limit, self.max_age_steps
        waits = bool(self.changes) and step < self.changes[-1].first_step + age
        if limit == 0 or age <= 1 or waits or drift.looked_up - drift.encoded <= limit:
            return
        self.restore_changes([*self.changes, MaxAgeChange(step + self._delay, age // 2)])

    def restore_changes(self, changes: list[MaxAgeChange]) -> None:
        """Make `changes` the run's changes, here and in the planner."""
        self.changes = changes
        self._planner.lower_max_age(changes)
