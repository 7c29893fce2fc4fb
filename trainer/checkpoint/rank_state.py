"""Extracts one rank's own state from a checkpoint, also when another number of ranks resumes from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint.files import Checkpoint, ResumeError
from trainer.encode.plan import PlannerState
from trainer.encode.policies import Policy
from trainer.ranks.process_group import Ranks


@dataclass(frozen=True, slots=True)
class RankState:
    """Vectors, planner and random state of one rank; `random` is None for a rank that was not there."""

    table: Mapping[str, Tensor]
    planner: PlannerState
    random: Tensor | None


def state_of_rank(checkpoint: Checkpoint, ranks: Ranks, policy: Policy) -> RankState:
    """The rank's own state if as many ranks resume; otherwise each starts with the freshest vector of every item.

    ResumeError for accumulated and carried, whose waiting gradients belong to the ranks that made them.
    """
    saved = int(checkpoint.state["ranks"])
    states = [_saved(checkpoint, rank) for rank in range(saved)]
    if saved == ranks.world:
        return states[ranks.rank]
    if policy in ("accumulated", "carried"):
        raise ResumeError(
            f"the checkpoint is of {saved} processes, these are {ranks.world}, and {policy} keeps gradients waiting in "
            f"each: resume with {saved}"
        )
    random = states[ranks.rank].random if ranks.rank < saved else None
    return RankState(*_freshest(states), random)


def freshest_state(checkpoint: Checkpoint) -> RankState:
    """The freshest vector of every item over all ranks, without waiting gradients: what another run can begin with."""
    states = [_saved(checkpoint, rank) for rank in range(int(checkpoint.state["ranks"]))]
    return RankState(*_freshest(states), random=None)


def _saved(checkpoint: Checkpoint, rank: int) -> RankState:
    arrays = {name: tensor.numpy() for name, tensor in checkpoint.tensors[f"planner-{rank}"].items()}
    random = checkpoint.tensors[f"random-{rank}"]["torch"]
    return RankState(checkpoint.tensors[f"table-{rank}"], PlannerState.from_arrays(arrays), random)


def _freshest(states: list[RankState]) -> tuple[Mapping[str, Tensor], PlannerState]:
    encoded_WV = np.stack([state.planner.last_encode_V for state in states])
    owner_V = encoded_WV.argmax(axis=0)
    vector_WVD = torch.stack([state.table["vector_VD"] for state in states])
    rows_V = np.arange(len(owner_V))
    vector_VD = vector_WVD[torch.from_numpy(owner_V), torch.from_numpy(rows_V)]
    return {"vector_VD": vector_VD}, PlannerState(last_encode_V=encoded_WV[owner_V, rows_V])
