"""Work split into chunks by rank adds up to the full result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.ranks.split_work import ALL, Share, in_shares

NUMBERS = torch.arange(10.0)


def squares(chunk: slice) -> Tensor:
    return NUMBERS[chunk] ** 2


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_the_shares_of_all_ranks_add_up_to_the_full_result(world: int) -> None:
    parts = [in_shares(10, 3, squares, Share(rank, world)) for rank in range(world)]
    assert torch.equal(torch.stack(parts).sum(0), NUMBERS**2)
    assert all(len(part) == 10 for part in parts)


def test_a_rank_computes_no_more_than_its_chunks() -> None:
    asked: list[slice] = []
    in_shares(10, 3, lambda chunk: asked.append(chunk) or squares(chunk), Share(1, 2))
    assert asked == [slice(3, 6), slice(9, 10)]


def test_nothing_to_share_is_nothing() -> None:
    assert in_shares(0, 3, squares, ALL).shape == (0,)
