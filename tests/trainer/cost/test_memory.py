"""What fits into a device's memory, next to what else a run holds there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.cost.memory import bytes_between_steps, fits

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("free", "cached", "reserved", "size", "expected"),
    [
        (1000, 0, 0, 500, True),
        (1000, 0, 0, 501, False),
        (1000, 0, 400, 300, True),
        (1000, 0, 400, 301, False),
        (1000, 200, 0, 600, True),  # the allocator holds it unused
        (1000, 0, 2000, 1, False),
    ],
)
def test_half_of_what_else_is_left_may_be_taken(
    monkeypatch: pytest.MonkeyPatch, free: int, cached: int, reserved: int, size: int, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 70 + cached)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 70)
    assert fits(size, CUDA, reserved=reserved) == expected
    assert fits(size, torch.device("cpu"), reserved=reserved)


def test_what_a_run_holds_between_steps_is_counted_by_its_parts() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    model[0].requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    weights = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    moments = [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = sum(tensor.nbytes for tensor in [*weights, *moments])
    assert bytes_between_steps(model, vectors=0, half=False, waits=False) == held
    copy = sum(p.bfloat16().nbytes for p in model.parameters())
    assert bytes_between_steps(model, vectors=70, half=True, waits=False) == held + copy + 4 * 70
    assert bytes_between_steps(model, vectors=70, half=False, waits=True) == held + 2 * 4 * 70
