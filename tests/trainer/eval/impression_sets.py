"""Literal impressions, as tables of EVALUATION."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tests.packed import EVALUATION_SCHEMA


def evaluation(*rows: dict[str, Any], without: tuple[str, ...] = ()) -> pa.Table:
    """EVALUATION rows with defaults for all that is not given; `without` leaves columns out, as old ones do."""
    table = pa.Table.from_pylist([_row(number, row) for number, row in enumerate(rows)], EVALUATION_SCHEMA)
    return table.drop_columns(list(without)) if without else table


def _row(number: int, given: dict[str, Any]) -> dict[str, Any]:
    shown = given.get("shown_row", [1, 2])
    defaults: dict[str, Any] = {
        "source": "p",
        "impression_id": f"{number}",
        "user_id": f"u{number}",
        "time": datetime(2026, 3, 7, 9, tzinfo=UTC),
        "history_row": [],
        "shown_row": shown,
        "shown_id": [f"n{row}" for row in shown],
        "clicked": [place == 0 for place in range(len(shown))],
        "shown_age_hours": [float(row) for row in shown],
        "recent_shown": [4 * row for row in shown],
        "recent_clicks": [row for row in shown],
        "new_user": False,
        "also_seen_as": [],
    }
    return defaults | given
