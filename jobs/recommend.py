"""An export -> the news that a user, or whoever clicked some news, would be shown next."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.terminal.recommended import show_recommended
from schemas.errors import InputError
from trainer.eval.export import Export
from trainer.eval.recommending import clicks_of, known_rows, recommend_to, rows_of


def recommend(
    *,
    export: Path,
    lake: Path | None = None,
    user: str | None = None,
    clicked: list[str] | None = None,
    top: int = 10,
    exclude_seen: bool = True,
) -> dict[str, Any]:
    """The news with the best scores, by the vectors and the user encoder of an export.

    Parameters
    ----------
    export
        The folder that `export_embeddings` wrote.
    lake
        The lake whose impressions tell what --user clicked.
    user
        A user id of the logs; under a user key, its HMAC as the lake holds it.
    clicked
        News ids, oldest click first, instead of a user: --clicked N1 --clicked N2. Item rows where the export
        was made without a lake.
    top
        How many news.
    exclude_seen
        Leave out what was clicked already.
    """
    if (user is None) == (clicked is None):
        raise InputError("name either --user or the news --clicked, not both and not neither")
    if top < 1:
        raise InputError(f"--top is {top}: use 1 or more")
    opened, unknown = Export.open(export), 0
    if user is None:
        rows = rows_of(opened, clicked or [])
    elif lake is None:
        raise InputError(f"--user {user} needs --lake, whose impressions tell what the user clicked")
    else:
        rows, unknown = known_rows(opened, clicks_of(lake, opened.record.source, user))
    found = recommend_to(opened, rows, count=top, exclude_seen=exclude_seen)
    who = f"user {user}" if user else f"who clicked {', '.join(clicked or [])}"
    show_recommended(found, f"For {who}, by {opened.record.checkpoint}")
    return {
        "user": user,
        "clicks": len(rows),
        "clicks_of_unknown_news": unknown,
        "checkpoint": opened.record.checkpoint,
        "news": [asdict(news) for news in found],
    }


if __name__ == "__main__":
    raise SystemExit(run(recommend))
