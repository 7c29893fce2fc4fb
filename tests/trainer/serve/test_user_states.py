"""A user's state from a list of clicks equals that of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.eval.impressions import Impressions
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.serve.user_states import histories, user_state


@pytest.mark.parametrize("model", ["autoregressive", "nrms"])
def test_a_state_is_the_evaluations_whatever_the_padding(model: str) -> None:
    torch.manual_seed(0)
    user = UserEncoder(UserEncoderConfig(model=model, attention_width=8, heads=2), vector_width=16)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in user.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    click_BLD = torch.randn(2, 6, 16)
    mask_BL = torch.arange(6) < torch.tensor([[6], [4]])
    with torch.no_grad():
        wanted = user(click_BLD, mask_BL, torch.arange(6).expand(2, 6), mask_BL.sum(1, keepdim=True))[:, 0]
    for number, length in enumerate((6, 4)):
        assert np.allclose(user_state(user, click_BLD[number, :length].numpy()), wanted[number], atol=1e-6)


def test_without_clicks_a_user_is_the_start_vector() -> None:
    user = UserEncoder(UserEncoderConfig(), vector_width=4)
    torch.nn.init.constant_(user.start_D, 2.0)
    assert user_state(user, np.zeros((0, 4), np.float32)).tolist() == [2, 2, 2, 2]


def test_histories_keep_the_latest_clicks() -> None:
    impressions = Impressions(
        history_Y=np.array([1, 2, 3, 9]),
        history_start_I1=np.array([0, 3, 3, 4]),
        shown_X=np.array([1, 1, 1]),
        shown_start_I1=np.array([0, 1, 2, 3]),
        clicked_X=np.zeros(3, np.bool_),
    )
    assert [rows.tolist() for rows in histories(impressions, limit=3, latest=2)] == [[2, 3], [], [9]]
    assert len(list(histories(impressions, limit=2, latest=2))) == 2
