from __future__ import annotations

import pyarrow as pa

from tests.packed import EVALUATION_SCHEMA
from trainer.eval.impressions import Impressions

LABELLED = {"impression_id": "a", "history_row": [1], "shown_row": [2, 3], "clicked": [True, False]}
UNLABELLED = {"impression_id": "b", "history_row": [4, 5], "shown_row": [0, 6, 7], "clicked": None}


def impressions_of(*rows: dict[str, object]) -> Impressions:
    return Impressions.of(pa.Table.from_pylist(list(rows), EVALUATION_SCHEMA))


def test_unlabelled_impressions_are_not_judged() -> None:
    found = impressions_of(UNLABELLED, LABELLED, UNLABELLED)
    assert (found.size, found.rows.tolist()) == (1, [1, 2, 3])
    assert (found.clicked_X.tolist(), found.shown_start_I1.tolist()) == ([True, False], [0, 2])


def test_where_all_are_unlabelled_there_is_nothing_to_judge() -> None:
    assert impressions_of(UNLABELLED).size == 0
