"""An export -> the news that a user, or whoever clicked some news, would be shown next."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.config import run
from jobs.terminal.recommended import show_recommended
from schemas.errors import InputError
from trainer.eval import pools
from trainer.eval.export import Export
from trainer.eval.recommending import known_rows, recommend_to, rows_of
from trainer.eval.user_clicks import clicks_of


def recommend(
    *,
    export: Path,
    lake: Path | None = None,
    user: str | None = None,
    clicked: list[str] | None = None,
    top: int = 10,
    exclude_seen: bool = True,
    newer_than: str | None = None,
    shown_on: date | None = None,
) -> dict[str, Any]:
    """The news with the best scores, by the vectors and the user encoder of an export.

    Parameters
    ----------
    export
        The folder that `export_embeddings` wrote.
    lake
        The lake whose impressions hold what --user clicked and when news were shown.
    user
        A user id of the logs; under a user key, its HMAC as the lake holds it.
    clicked
        News ids, oldest click first, instead of a user: --clicked N1 --clicked N2. Item rows where the export
        was made without a lake.
    top
        How many news.
    exclude_seen
        Leave out what was clicked already.
    newer_than
        Only news first shown to anyone at this UTC date or time or later, by the impressions of --lake.
    shown_on
        Only news that anyone was shown on this UTC date: the pool in which `evaluate` measures recall.
    """
    if (user is None) == (clicked is None):
        raise InputError("name either --user or the news --clicked, not both and not neither")
    if top < 1:
        raise InputError(f"--top is {top}: use 1 or more")
    opened, unknown = Export.open(export), 0
    if user is None:
        rows = rows_of(opened, clicked or [])
    elif lake is None:
        raise InputError(f"--user {user} needs --lake, whose impressions hold what the user clicked")
    else:
        rows, unknown = known_rows(opened, clicks_of(lake, opened.record.source, user))
    among = _pool(opened, lake, newer_than, shown_on)
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


def _pool(opened: Export, lake: Path | None, newer_than: str | None, shown_on: date | None) -> NDArray[np.int64] | None:
    """The item rows that may be recommended; None: all."""
    if newer_than is None and shown_on is None:
        return None
    if lake is None:
        raise InputError("--newer-than and --shown-on need --lake, whose impressions hold when news were shown")
    among = np.asarray(opened.news["item_row"], np.int64)
    if shown_on is not None:
        among = np.intersect1d(among, pools.shown_on(opened, lake, shown_on))
    if newer_than is not None:
        among = np.intersect1d(among, pools.newer_than(opened, lake, pools.moment_of(newer_than)))
    return among


if __name__ == "__main__":
    raise SystemExit(run(recommend))
