"""Examples: the data that a page shows of an evaluated impression."""

from __future__ import annotations

import json

import numpy as np

from tests.trainer.eval.impression_sets import evaluation
from tests.trainer.eval.test_baselines import catalogue
from trainer.eval.examples import examples

KINDS = [("sport", "golf")] * 60


def best(at: int) -> list[tuple[int, float]]:
    return [(3 + at, 0.75)]


def test_an_example_has_titles_ranks_and_clicks() -> None:
    row = {"history_row": list(range(1, 20)), "shown_row": [1, 2], "shown_id": ["n1", "x"]}
    table = evaluation({"clicked": None}, row)
    (example,) = examples(table, np.array([0.25, 0.5]), np.array([0.0]), catalogue(*KINDS), best=best)
    assert example["user_id"] == "u1"
    assert example["time"] == "2026-03-07T09:00:00+00:00"
    assert [news["id"] for news in example["history"]] == [f"n{row}" for row in range(8, 20)]
    assert example["candidates"] == [
        {"id": "x", "title": "", "category": "", "score": 0.5, "rank": 1, "clicked": False},
        {"id": "n1", "title": "title 1", "category": "sport", "score": 0.25, "rank": 2, "clicked": True},
    ]
    assert example["recommended"] == [{"id": "n3", "title": "title 3", "category": "sport", "score": 0.75}]
    assert json.loads(json.dumps(example)) == example


def test_long_impressions_keep_the_best_and_all_that_was_clicked() -> None:
    shown = list(range(1, 61))
    table = evaluation({"shown_row": shown, "clicked": [row == 1 for row in shown]})
    (example,) = examples(table, np.arange(60.0), np.array([0.0]), catalogue(*KINDS), best=best)
    ranks = [news["rank"] for news in example["candidates"]]
    assert ranks == [*range(1, 40), 60]
    assert example["candidates"][-1]["clicked"]


def test_the_choice_is_seeded_and_takes_only_evaluated_impressions() -> None:
    table = evaluation(*[{}] * 50)
    auc_I = np.where(np.arange(50) % 2, 0.5, np.nan)
    drawn = [examples(table, np.zeros(100), auc_I, catalogue(*KINDS), best=best, count=10) for _ in range(2)]
    assert drawn[0] == drawn[1]
    numbers = [int(example["impression_id"]) for example in drawn[0]]
    assert len(numbers) == 10
    assert numbers == sorted(numbers)
    assert all(number % 2 for number in numbers)
