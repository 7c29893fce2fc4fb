"""A rank's state: its own parts where as many ranks resume; else the freshest vector of each item, of all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.checkpoint.files import Checkpoint, ResumeError
from trainer.checkpoint.rank_state import parts_of_rank, state_of_rank
from trainer.encode.plan import NEVER, PlannerState
from trainer.encode.vector_table import VectorTable
from trainer.ranks.process_group import Ranks

ROWS, WIDTH, STEP = 9, 2, 20
SHAPE = torch.Size((ROWS, WIDTH))


class Asked(Mapping[str, Mapping[str, Tensor]]):
    """Parts that note which of them are asked for."""

    def __init__(self, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.parts, self.asked = parts, set[str]()

    def __getitem__(self, part: str) -> Mapping[str, Tensor]:
        self.asked.add(part)
        return self.parts[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def new_table(*, waits: bool = False) -> VectorTable:
    cpu = torch.device("cpu")
    return VectorTable(lambda _: torch.zeros(0), rows=ROWS, width=WIDTH, device=cpu, waits=waits)


def checkpoint(*encoded: dict[int, int]) -> Checkpoint:
    """`encoded`: of each rank, row -> step of its last encode; its vector is (rank, step)."""
    parts: dict[str, dict[str, Tensor]] = {}
    for rank, steps in enumerate(encoded):
        table = new_table()
        last_encode_V = np.full(ROWS, NEVER, np.int32)
        for row, step in steps.items():
            table.vector_VD[row] = torch.tensor([float(rank), float(step)])
            last_encode_V[row] = step
        parts |= parts_of_rank(
            rank, table, PlannerState(last_encode_V=last_encode_V), np.array(sorted(steps), np.int64)
        )
    return Checkpoint(tensors=Asked(parts), state={"ranks": len(encoded), "position": {"step": STEP}})


def restored(saved: Checkpoint, ranks: Ranks) -> tuple[dict[int, list[float]], dict[int, int]]:
    """(the vectors that are not zero, the steps of encodes) by row."""
    own = state_of_rank(saved, ranks, "cached", SHAPE)
    table = new_table()
    table.vector_VD.fill_(7)
    table.load_state_dict(own.table)
    steps = own.planner.last_encode_V
    rows = np.flatnonzero(steps != NEVER).tolist()
    assert not table.vector_VD[np.flatnonzero(steps == NEVER)].any()
    return {row: table.vector_VD[row].tolist() for row in rows}, {row: int(steps[row]) for row in rows}


ENCODED = ({1: 3, 4: 9, 8: 19}, {1: 5, 2: 0, 4: 9}, {}, {2: 1, 8: 18})


def test_as_many_ranks_read_their_own_parts_alone() -> None:
    for rank, encoded in enumerate(ENCODED):
        saved = checkpoint(*ENCODED)
        vectors, steps = restored(saved, Ranks(rank, len(ENCODED)))
        assert steps == encoded
        assert vectors == {row: [rank, step] for row, step in encoded.items()}
        assert saved.tensors.asked == {f"{part}-{rank}" for part in ("table", "planner", "random")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("world", [1, 3, 5])
def test_other_numbers_of_ranks_begin_with_the_freshest_vectors(world: int) -> None:
    for rank in range(world):
        vectors, steps = restored(checkpoint(*ENCODED), Ranks(rank, world))
        assert steps == {1: 5, 2: 1, 4: 9, 8: 19}
        assert vectors == {1: [1, 5], 2: [3, 1], 4: [0, 9], 8: [0, 19]}
        random = state_of_rank(checkpoint(*ENCODED), Ranks(rank, world), "cached", SHAPE).random
        assert (random is None) == (rank >= len(ENCODED))


def test_waiting_gradients_belong_to_the_ranks_that_made_them() -> None:
    for policy in ("accumulated", "carried"):
        with pytest.raises(ResumeError, match=r"of 4 processes, these are 2.*resume with 4"):
            state_of_rank(checkpoint(*ENCODED), Ranks(0, 2), policy, SHAPE)


def test_waiting_gradients_and_their_steps_come_back() -> None:
    table = new_table(waits=True)
    assert table.waiting_VD is not None
    table.waiting_VD[3, 1], table.waiting_VD[5] = -2.0, torch.tensor([float("nan"), 0.0])
    since_V = np.full(ROWS, NEVER, np.int32)
    since_V[[2, 5]] = 4, 19  # a gradient may be zero, and one may wait without its step
    planner = PlannerState(last_encode_V=np.full(ROWS, NEVER, np.int32), waiting_since_V=since_V)
    parts = parts_of_rank(0, table, planner, np.zeros(0, np.int64))
    assert parts["table-0"]["waiting_row_Q"].tolist() == [3, 5]
    own = state_of_rank(
        Checkpoint(tensors=parts, state={"ranks": 1, "position": {"step": STEP}}), Ranks(), "carried", SHAPE
    )
    assert own.planner.waiting_since_V.tolist() == since_V.tolist()  # type: ignore[union-attr]
    again = new_table(waits=True)
    again.waiting_VD.fill_(3)  # type: ignore[union-attr]
    again.load_state_dict(own.table)
    assert torch.equal(again.waiting_VD.nan_to_num(99.0), table.waiting_VD.nan_to_num(99.0))  # type: ignore[union-attr]
