"""The user models equal a reference that takes one target and one click at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from trainer.model.user_encoder import ClickAttention, UserEncoder, UserEncoderConfig

B, L, P, D = 3, 6, 4, 8
EARLIER = torch.tensor([[0, 1, 1, 1, 4, 5], [0, 0, 2, 0, 0, 0], [0] * 6])  # clicks 1 to 3 of user 0: one impression


@pytest.fixture(params=["autoregressive", "nrms"])
def user(request: pytest.FixtureRequest) -> UserEncoder:
    torch.manual_seed(0)
    model = UserEncoder(UserEncoderConfig(model=request.param, attention_width=5, heads=2), vector_width=D).double()
    torch.nn.init.normal_(model.attention.query.weight)
    torch.nn.init.normal_(model.start_D)
    if model.among is not None:
        torch.nn.init.normal_(model.among.out.weight)
    return model


def seen_by(among: ClickAttention | None, keys: Tensor, earlier: list[int]) -> Tensor:
    """Each key after attention to the keys that it sees, one at a time and head by head."""
    if among is None:
        return keys
    rows = []
    for place, key in enumerate(keys):
        seen = torch.stack([*keys[: earlier[place] + 1], *([key] if place > earlier[place] else [])])
        query, _, _ = among.project(key).split(D)
        _, others, values = among.project(seen).split(D, dim=-1)
        heads = []
        for h in range(among.heads):
            part = slice(h * D // among.heads, (h + 1) * D // among.heads)
            weight = torch.softmax(others[:, part] @ query[part] / (D // among.heads) ** 0.5, dim=0)
            heads.append(weight @ values[:, part])
        rows.append(key + among.out(torch.cat(heads)))
    return torch.stack(rows)


def test_all_targets_in_one_pass_equal_one_at_a_time(user: UserEncoder) -> None:
    click = torch.randn(B, L, D, dtype=torch.float64)
    mask = torch.arange(L) < torch.tensor([[6], [3], [0]])
    prefix = torch.tensor([[0, 1, 4, 6], [0, 2, 2, 3], [0, 0, 0, 0]])
    states = user(click, mask, EARLIER, prefix)
    for b in range(B):
        for p in range(P):
            keys = torch.cat([user.start_D[None], click[b, : prefix[b, p]]])
            keys = seen_by(user.among, keys, [0, *EARLIER[b].tolist()])
            weight = torch.softmax(user.attention.logits(keys), dim=0)
            assert torch.allclose(states[b, p], weight @ keys, atol=1e-12)


def test_a_target_sees_nothing_after_its_prefix(user: UserEncoder) -> None:
    click = torch.randn(1, L, D, dtype=torch.float64)
    mask, prefix = torch.ones(1, L, dtype=torch.bool), torch.tensor([[1, 5]])
    before = user(click, mask, EARLIER[:1], prefix)
    click[0, 2] += 1  # a click of the first target's own impression, or later
    after = user(click, mask, EARLIER[:1], prefix)
    assert torch.equal(before[0, 0], after[0, 0])
    assert not torch.allclose(before[0, 1], after[0, 1])


def test_padding_changes_nothing(user: UserEncoder) -> None:
    click = torch.randn(1, L, D, dtype=torch.float64)
    mask = torch.arange(L)[None] < 3
    prefix = torch.tensor([[3]])
    before = user(click, mask, EARLIER[1:2], prefix)
    click[0, 3:] = 99.0
    assert torch.equal(before, user(click, mask, EARLIER[1:2], prefix))


def test_nrms_starts_as_plain_attention() -> None:
    click, mask = torch.randn(B, L, D), torch.ones(B, L, dtype=torch.bool)
    states = []
    for model in ("autoregressive", "nrms"):
        torch.manual_seed(0)
        user = UserEncoder(UserEncoderConfig(model=model, heads=2), vector_width=D)
        states.append(user(click, mask, EARLIER, torch.full((B, P), L)))
    assert torch.allclose(*states, atol=1e-6)


def test_heads_that_do_not_divide_the_width_raise_an_error() -> None:
    with pytest.raises(InputError, match=r"user\.heads is 3, which does not divide encoder\.vector_width 8"):
        UserEncoder(UserEncoderConfig(model="nrms", heads=3), vector_width=D)
    UserEncoder(UserEncoderConfig(heads=3), vector_width=D)
