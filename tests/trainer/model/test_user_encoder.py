"""The autoregressive user model against one target at a time."""

from __future__ import annotations

import pytest
import torch

from trainer.model.user_encoder import AutoregressiveUserEncoder, UserEncoderConfig

B, L, P, D = 3, 6, 4, 8


@pytest.fixture
def user() -> AutoregressiveUserEncoder:
    torch.manual_seed(0)
    model = AutoregressiveUserEncoder(UserEncoderConfig(attention_width=5), vector_width=D).double()
    torch.nn.init.normal_(model.attention.query.weight)
    torch.nn.init.normal_(model.start_D)
    return model


def test_all_targets_in_one_pass_equal_one_at_a_time(user: AutoregressiveUserEncoder) -> None:
    click = torch.randn(B, L, D, dtype=torch.float64)
    mask = torch.arange(L) < torch.tensor([[6], [3], [0]])
    prefix = torch.tensor([[0, 1, 3, 6], [0, 2, 2, 3], [0, 0, 0, 0]])
    states = user(click, mask, prefix)
    for b in range(B):
        for p in range(P):
            keys = torch.cat([user.start_D[None], click[b, : prefix[b, p]]])
            weight = torch.softmax(user.attention.logits(keys), dim=0)
            assert torch.allclose(states[b, p], weight @ keys, atol=1e-12)


def test_a_target_sees_nothing_after_its_prefix(user: AutoregressiveUserEncoder) -> None:
    click = torch.randn(1, L, D, dtype=torch.float64)
    mask, prefix = torch.ones(1, L, dtype=torch.bool), torch.tensor([[2, 5]])
    before = user(click, mask, prefix)
    click[0, 2] += 1  # a click of the first target's own impression, or later
    after = user(click, mask, prefix)
    assert torch.equal(before[0, 0], after[0, 0])
    assert not torch.allclose(before[0, 1], after[0, 1])


def test_padding_changes_nothing(user: AutoregressiveUserEncoder) -> None:
    click = torch.randn(1, L, D, dtype=torch.float64)
    mask = torch.arange(L)[None] < 3
    prefix = torch.tensor([[3]])
    before = user(click, mask, prefix)
    click[0, 3:] = 99.0
    assert torch.equal(before, user(click, mask, prefix))
