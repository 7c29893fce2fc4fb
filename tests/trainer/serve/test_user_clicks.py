"""A user's clicks are read from the lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.errors import ContractError, InputError
from schemas.history import hash_of_history
from schemas.impression import HISTORIES, IMPRESSIONS
from tests.exported import SOURCE, write_logs, write_table
from trainer.serve import user_clicks
from trainer.serve.user_clicks import clicks_of

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
