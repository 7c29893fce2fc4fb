"""Live rows: the item rows whose vectors a later step may still look up, which is what a checkpoint must hold."""

from __future__ import annotations

import numpy as np

from trainer.encode.cutting import IntArray
from trainer.encode.plan import PlannerState
from trainer.encode.policies import Policy


def live_rows(policy: Policy, state: PlannerState, *, step: int, max_age_steps: int) -> IntArray:
    """Item rows (R,), ascending, that steps from `step` on may look up. `state`: after the step before.

    cached, carried: those encoded within the age limit, which never rises; accumulated: those encoded since the
    encoder's last update. The other policies look up nothing. A step encodes every other row that it asks for, so that
    whether and when it was encoded does not matter.
    """
    first = {"cached": step - max_age_steps, "carried": step - max_age_steps, "accumulated": state.window_start}
    if policy not in first:
        return np.zeros(0, np.int64)
    return np.flatnonzero(state.last_encode_V >= max(first[policy], 0))  # NEVER is below 0
