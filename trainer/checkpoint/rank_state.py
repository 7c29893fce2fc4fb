"""One rank's own state in a checkpoint, whose size depends on the rows that later steps may read, not on all items.

Written by the rank itself; read by it, or by any rank when another number of ranks resumes. Parts of rank N:
table-N: `row_R`, ascending, with `last_encode_R` and `vector_RD`; with waiting gradients `waiting_row_Q`, `waiting_QD`.
planner-N: what PlannerState.arrays holds, without the steps of encodes; `since_row_S`, `since_S` for `carried`.
random-N: the state of torch's generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint.files import Checkpoint, ResumeError
from trainer.checkpoint.rank_checks import check_full_arrays, check_planner, check_table
from trainer.encode.cutting import IntArray
from trainer.encode.plan import NEVER, PlannerState
from trainer.encode.policies import WAITING_POLICIES, Policy
from trainer.encode.vector_table import VectorTable
from trainer.ranks.process_group import Ranks

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class RankState:
    """Vectors, planner and random state of one rank; `random` is None for a rank that was not there."""

    table: Mapping[str, Tensor]
    planner: PlannerState
    random: Tensor | None


def parts_of_rank(rank: int, table: VectorTable, planner: PlannerState, rows_R: IntArray) -> dict[str, Tensors]:
    """The rank's parts of a checkpoint, with the vectors of `rows_R` only; tensors on the table's device are not yet
    copied to host memory."""
    arrays = planner.arrays()
    last_encode_V, since_V = arrays.pop("last_encode_V"), arrays.pop("waiting_since_V", None)
    if since_V is not None:
        since_row_S = np.flatnonzero(since_V != NEVER)
        arrays |= {"since_row_S": since_row_S, "since_S": since_V[since_row_S]}
    return {
        f"table-{rank}": {**table.state_dict(rows_R), "last_encode_R": torch.from_numpy(last_encode_V[rows_R])},
        f"planner-{rank}": {name: torch.from_numpy(array) for name, array in arrays.items()},
        f"random-{rank}": {"torch": torch.get_rng_state()},
    }


def state_of_rank(checkpoint: Checkpoint, ranks: Ranks, policy: Policy, shape: torch.Size) -> RankState:
    """The rank's own state if as many ranks resume; otherwise each starts with the freshest vector of every item.

    `shape`: (V, D) of the table. Reads the rank's own parts, or the parts of all ranks one after another. ResumeError
    for contents that no such run writes, and for accumulated and carried, whose waiting gradients belong to the ranks
    that made them.
    """
    saved = int(checkpoint.state["ranks"])
    if saved == ranks.world:
        table = _table(checkpoint, ranks.rank, shape)
        return RankState(table, _planner(checkpoint, ranks.rank, table, shape), _random(checkpoint, ranks.rank))
    if policy in WAITING_POLICIES:
        raise ResumeError(
            f"the checkpoint is of {saved} processes, these are {ranks.world}, and {policy} keeps gradients waiting in "
            f"each: resume with {saved}"
        )
    table = freshest_rows(checkpoint, shape)
    random = _random(checkpoint, ranks.rank) if ranks.rank < saved else None
    return RankState(table, PlannerState(last_encode_V=_last_encode_V(table, shape)), random)


def freshest_rows(checkpoint: Checkpoint, shape: torch.Size) -> Tensors:
    """`row_R`, `last_encode_R` and `vector_RD` of the checkpoint: of every item the vector encoded last by any rank."""
    ranks = range(int(checkpoint.state["ranks"]))
    return reduce(_freshest, (_table(checkpoint, rank, shape) for rank in ranks))


def _table(checkpoint: Checkpoint, rank: int, shape: torch.Size) -> Tensors:
    """What the checkpoint holds of a rank's table, checked."""
    name, step = f"table-{rank}", _next_step(checkpoint)
    table = dict(checkpoint.tensors[name])
    if "vector_VD" in table:  # an older feedloop saved every row
        last_encode_V = checkpoint.tensors[f"planner-{rank}"]["last_encode_V"]
        check_full_arrays({**table, "last_encode_V": last_encode_V}, f"checkpoint of rank {rank}", shape, step)
        table = _live_part(table, last_encode_V)
    check_table(table, name, shape, step)
    return table


def _live_part(full: Mapping[str, Tensor], last_encode_V: Tensor) -> Tensors:
    row_R = (last_encode_V != NEVER).nonzero()[:, 0]
    table = {"row_R": row_R, "last_encode_R": last_encode_V[row_R], "vector_RD": full["vector_VD"][row_R]}
    if "waiting_VD" not in full:
        return table
    row_Q = full["waiting_VD"].ne(0).any(1).nonzero()[:, 0]
    return {**table, "waiting_row_Q": row_Q, "waiting_QD": full["waiting_VD"][row_Q]}


def _planner(checkpoint: Checkpoint, rank: int, table: Tensors, shape: torch.Size) -> PlannerState:
    """What the checkpoint holds of a rank's planner, checked."""
    name, step = f"planner-{rank}", _next_step(checkpoint)
    planner = dict(checkpoint.tensors[name])
    check_planner(planner, name, shape, step)
    arrays = {part: tensor.numpy() for part, tensor in planner.items()}
    if "since_row_S" in arrays:
        arrays["waiting_since_V"] = _full(shape, arrays["since_row_S"], arrays["since_S"])
    return PlannerState.from_arrays({**arrays, "last_encode_V": _last_encode_V(table, shape)})


def _next_step(checkpoint: Checkpoint) -> int:
    """The planner's number of the first step after the checkpoint."""
    position = checkpoint.state["position"]
    return int(position.get("first_step", 0)) + int(position["step"])


def _last_encode_V(table: Tensors, shape: torch.Size) -> IntArray:
    return _full(shape, table["row_R"].numpy(), table["last_encode_R"].numpy())


def _full(shape: torch.Size, rows: IntArray, steps: IntArray) -> IntArray:
    steps_V = np.full(shape[0], NEVER, np.int32)
    steps_V[rows] = steps
    return steps_V


def _random(checkpoint: Checkpoint, rank: int) -> Tensor:
    return checkpoint.tensors[f"random-{rank}"]["torch"]


def _freshest(one: Tensors, other: Tensors) -> Tensors:
    """The vector of every item that either table holds; the one encoded last, or that of `one`."""
    row, encoded, vector = (torch.cat([one[name], other[name]]) for name in ("row_R", "last_encode_R", "vector_RD"))
    order = np.lexsort((-encoded.numpy(), row.numpy()))  # by row, the freshest first; stable
    row_R, first_R = np.unique(row.numpy()[order], return_index=True)
    chosen = torch.from_numpy(order[first_R])
    return {"row_R": torch.from_numpy(row_R), "last_encode_R": encoded[chosen], "vector_RD": vector[chosen]}
