"""Impressions: which of them are evaluated, which are predicted, and their dates."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from tests.packed import EVALUATION_SCHEMA
from trainer.eval.impressions import Impressions, dates

LABELLED = {"impression_id": "a", "history_row": [1], "shown_row": [2, 3], "clicked": [True, False]}
UNLABELLED = {"impression_id": "b", "history_row": [4, 5], "shown_row": [0, 6, 7], "clicked": None}


def impressions_of(*rows: dict[str, object]) -> Impressions:
    return Impressions.of(pa.Table.from_pylist(list(rows), EVALUATION_SCHEMA))


def test_unlabelled_impressions_are_not_evaluated() -> None:
    found = impressions_of(UNLABELLED, LABELLED, UNLABELLED)
    assert (found.size, found.rows.tolist()) == (1, [1, 2, 3])
    assert (found.clicked_X.tolist(), found.shown_start_I1.tolist()) == ([True, False], [0, 2])


def test_where_all_are_unlabelled_there_is_nothing_to_evaluate() -> None:
    assert impressions_of(UNLABELLED).size == 0


def test_unlabelled_impressions_are_separate_with_nothing_clicked() -> None:
    found = Impressions.without_labels(pa.Table.from_pylist([UNLABELLED, LABELLED], EVALUATION_SCHEMA))
    assert (found.size, found.shown_X.tolist(), found.history_Y.tolist()) == (1, [0, 6, 7], [4, 5])
    assert found.clicked_X.tolist() == [False, False, False]


def test_a_day_ends_at_midnight_utc() -> None:
    times = [datetime(2026, 3, 7, 23, 59, 59, 999999, UTC), datetime(2026, 3, 8, tzinfo=UTC)]
    table = pa.Table.from_pylist([LABELLED | {"time": time} for time in times], EVALUATION_SCHEMA)
    assert [str(day) for day in dates(table)] == ["2026-03-07", "2026-03-08"]
