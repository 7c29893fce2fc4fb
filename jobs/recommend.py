"""An export -> the news with the best scores for a user, or for a list of clicked news."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

from jobs.cli.command_line import run
from jobs.cli.recommended import show_recommended
from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.serve.opened_export import Export
from trainer.serve.pools import pool_of
from trainer.serve.recommend import recommend_to, rows_of, rows_of_user


def recommend(
    *,
    export: Place,
    lake: Place | None = None,
    user: str | None = None,
    clicked: list[str] | None = None,
    top: int = 10,
    exclude_seen: bool = True,
    newer_than: str | None = None,
    shown_on: date | None = None,
) -> dict[str, Any]:
    """The news with the best scores, by an export's vectors and user encoder.

    Parameters
    ----------
    export
        The folder that `export_embeddings` wrote.
    lake
        The lake whose impressions hold what --user clicked and when news were shown.
    user
        A user id of the logs; under a user key, its HMAC as the lake holds it.
    clicked
        News ids, oldest click first, instead of a user; item rows where the export was made without a lake.
    top
        Number of news.
    exclude_seen
        Leave out news that were clicked already.
    newer_than
        Only news first shown to anyone at this UTC date or time or later, by the impressions of --lake.
    shown_on
        Only news that were shown to anyone on this UTC date, as `evaluate` measures recall.
    """
    if (user is None) == (clicked is None):
        raise InputError("name either --user or the news --clicked, exactly one of them")
    if top < 1:
        raise InputError(f"--top is {top}: use 1 or more")
    opened = Export.open(export)
    rows, unknown = rows_of_user(opened, lake, user) if user is not None else (rows_of(opened, clicked or []), 0)
    among = pool_of(opened, lake, newer_than=newer_than, day=shown_on)
    found = recommend_to(opened, rows, count=top, exclude_seen=exclude_seen, among=among)
    who = f"user {user}" if user else f"who clicked {', '.join(clicked or [])}"
    show_recommended(found, f"For {who}, by {opened.record.checkpoint}")
    return {
        "user": user,
        "clicks": len(rows),
        "clicks_of_unknown_news": unknown,
        "checkpoint": opened.record.checkpoint,
        "among": opened.record.news if among is None else len(among),
        "news": [asdict(news) for news in found],
    }


if __name__ == "__main__":
    raise SystemExit(run(recommend))
