"""A user's clicks are read from the lake, and the state from a list of clicks equals that of the evaluation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import ContractError, InputError
from schemas.history import hash_of_history
from schemas.impression import HISTORIES, IMPRESSIONS
from tests.exported import SOURCE, write_logs, write_table
from trainer.eval.impressions import Impressions
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.serve import user_clicks
from trainer.serve.user_clicks import clicks_of, histories, user_state

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_user_is_the_first_history_and_then_the_logged_clicks_in_time_order(tmp_path: Path) -> None:
    views = [
        ("u1", 2, "n5 n6 n7", "n6"),
        ("u2", 0, "n5 n6", "n5"),
        ("u1", 2, "n8 n9 n4", "n9 n4"),
        ("it's", 0, "n1", ""),
    ]
    write_logs(tmp_path, views, {"u1": "n1 n2 n3"})
    assert clicks_of(tmp_path, SOURCE, "u1") == ["n1", "n2", "n6", "n9", "n4"]
    assert clicks_of(tmp_path, SOURCE, "u2") == ["n5"]
    assert clicks_of(tmp_path, SOURCE, "it's") == []


def test_a_log_that_keeps_the_last_clicks_gives_the_first_impression_its_own_history(tmp_path: Path) -> None:
    stored = [["n1", "n2", "n3"], ["n2", "n3", "n4"], ["n9", "n8", "n7", "n6"]]  # the longest is another one
    views = [
        {
            "source": SOURCE,
            "impression_id": f"i{place}",
            "user_id": "u1",
            "time": BEGIN + timedelta(days=place),
            "history_length": len(history),
            "history_hash": hash_of_history(history),
            "shown": ["n5"],
            "clicked": [True],
        }
        for place, history in enumerate(stored)
    ]
    write_table(tmp_path, IMPRESSIONS, views)
    sequences = [{"source": SOURCE, "user_id": "u1", "clicks": clicks} for clicks in reversed(stored)]
    write_table(tmp_path, HISTORIES, sequences)
    assert clicks_of(tmp_path, SOURCE, "u1") == ["n1", "n2", "n3", "n5", "n5", "n5"]
    write_table(tmp_path, HISTORIES, sequences[:2])
    with pytest.raises(ContractError, match="histories lacks a history of 3 clicks"):
        clicks_of(tmp_path, SOURCE, "u1")


def test_an_unknown_user_is_named_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_logs(tmp_path, [(user, 0, "n1", "") for user in ("u1", "u2", "u4", "u5", "u6", "a's")], {})
    handed_over = []
    real = user_clicks.query

    def counting(*given: object, **named: object) -> object:
        found = real(*given, **named)  # type: ignore[arg-type]
        handed_over.append(len(found))
        return found

    monkeypatch.setattr(user_clicks, "query", counting)
    with pytest.raises(InputError, match=r"hold no user 'u3'. The nearest: u1, u2, u4, u5"):
        clicks_of(tmp_path, SOURCE, "u3")
    assert handed_over == [2, 2]  # never all ids
    with pytest.raises(InputError, match=r'hold no user "z.s".*u5, u6'):
        clicks_of(tmp_path, SOURCE, "z's")
    with pytest.raises(InputError, match=r"source other hold no user 'u1'.*none at all"):
        clicks_of(tmp_path, "other", "u1")


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
