"""Recall over a day's pool: exact search against sorting, day by day."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.impressions import Impressions
from trainer.eval.recall import AT, best_of_day, recall_over_days
from trainer.model.item_vectors import ItemVectors


def test_recall_is_what_sorting_each_days_pool_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "shown_row": rng.choice(np.arange(1, 200), 30, replace=False).tolist(),
            "clicked": (rng.random(30) < 0.1).tolist(),
        }
        for _ in range(40)
    ]
    impressions, day_I = Impressions.of(evaluation(*rows)), np.arange(40) % 3
    vectors = ItemVectors(np.arange(200), torch.from_numpy(rng.integers(-2, 3, (200, 4)).astype(np.float64)))
    user_ID = torch.from_numpy(rng.integers(-2, 3, (40, 4)).astype(np.float64))  # integers: many ties
    wanted, sizes = [], []
    for day in range(3):
        pool = sorted({row for i in range(day, 40, 3) for row in rows[i]["shown_row"]})
        sizes.append(len(pool))
        for i in range(day, 40, 3):
            clicked = {row for row, click in zip(rows[i]["shown_row"], rows[i]["clicked"], strict=True) if click}
            ranked = sorted(pool, key=lambda row, i=i: -float(vectors.vector_RD[row] @ user_ID[i]))
            if clicked:
                wanted.append([len(clicked & set(ranked[:k])) / len(clicked) for k in AT])
    monkeypatch.setattr("trainer.eval.recall._PAIRS_AT_ONCE", 1000)
    found = recall_over_days(user_ID, vectors, impressions, day_I)
    assert found["pool"] == pytest.approx(np.mean(sizes))
    assert list(found["at"].values()) == pytest.approx(np.mean(wanted, axis=0).tolist(), abs=1e-12)
    assert list(found["at"]) == ["5", "10", "50", "100"]


def test_ids_of_one_item_are_one_click() -> None:
    impressions = Impressions.of(evaluation({"shown_row": [2, 2, 1], "clicked": [True, True, False]}))
    vectors = ItemVectors(np.arange(3), torch.tensor([[0.0], [1.0], [2.0]]))
    found = recall_over_days(torch.ones(1, 1), vectors, impressions, np.zeros(1, np.int64))
    assert found == {"pool": 2.0, "at": {"5": 1.0, "10": 1.0, "50": 1.0, "100": 1.0}}


def test_the_best_of_a_day_were_shown_on_it_and_are_new_to_the_user() -> None:
    rows: list[dict[str, object]] = [
        {"history_row": [4], "shown_row": [1, 2, 0], "clicked": [True, False, False]},
        {"history_row": [], "shown_row": [3, 4, 2], "clicked": [True, False, False]},
        {"history_row": [], "shown_row": [5, 1], "clicked": [True, False]},
    ]
    impressions, day_I = Impressions.of(evaluation(*rows)), np.array([0, 0, 1])
    vectors = ItemVectors(np.arange(6), torch.tensor([[9.0], [1.0], [3.0], [3.0], [5.0], [7.0]]))
    one = torch.ones(1)
    assert best_of_day(one, vectors, impressions, day_I, 0, count=2) == [(2, 3.0), (3, 3.0)]
    assert best_of_day(-one, vectors, impressions, day_I, 1, count=9) == [(1, -1.0), (2, -3.0), (3, -3.0), (4, -5.0)]
