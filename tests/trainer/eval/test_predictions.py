"""Predictions: MIND's form, line by line."""

from __future__ import annotations

import numpy as np

from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.impressions import Impressions
from trainer.eval.predictions import ids_in_order, prediction_lines, ranks_of, repeated_ids


def test_ranks_are_in_the_order_shown_and_ties_keep_it() -> None:
    found = ranks_of(np.array([0.1, 0.9, 0.5, 0.5, 0.5, -np.inf]), np.array([0, 3, 6]))
    assert found.tolist() == [3, 1, 2, 1, 2, 3]


def test_every_id_has_its_line_in_the_order_of_numbers() -> None:
    table = evaluation(
        {"impression_id": "10", "clicked": None, "shown_row": [1, 2, 3], "also_seen_as": ["9", "x2"]},
        {"impression_id": "1"},
        {"impression_id": "2", "clicked": None, "shown_row": [4, 5], "also_seen_as": None},
    )
    named = ids_in_order(table)
    lines = prediction_lines(np.array([0.0, 2.0, 1.0, 5.0, 6.0]), Impressions.without_labels(table), named)
    assert list(lines) == ["2 [2,1]", "9 [3,1,2]", "10 [3,1,2]", "x2 [3,1,2]"]


def test_directories_without_other_ids_use_their_own() -> None:
    table = evaluation({"clicked": None}, without=("also_seen_as",))
    assert ids_in_order(table) == [("0", 0)]


def test_an_id_of_several_users_is_reported() -> None:
    table = evaluation({"clicked": None, "impression_id": "7"}, {"clicked": None, "impression_id": "7"}, {})
    (sentence,) = repeated_ids(ids_in_order(table))
    assert "1 ids of unlabelled impressions stand more than once" in sentence
    assert repeated_ids([("1", 0), ("2", 1)]) == []
