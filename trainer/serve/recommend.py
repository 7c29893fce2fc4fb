"""Recommending: what a user clicked -> the news with the best scores, of all news of an export or of some."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.storage.place import Place
from trainer.serve.index import search, vectors_of
from trainer.serve.opened_export import Export
from trainer.serve.user_clicks import clicks_of, nearest_ids
from trainer.serve.user_states import user_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """One news, the best being rank 1."""

    rank: int
    score: float
    news_id: str
    item_row: int
    category: str
    subcategory: str
    title: str


def rows_of(export: Export, news_ids: list[str]) -> NDArray[np.int64]:
    """The item rows of news ids; where the export knows no ids, of rows as numbers. InputError names a stranger."""
    row_of = _row_of(export)
    for news in news_ids:
        if news not in row_of:
            raise InputError(f"the export knows no news {news!r}.{_near(news, list(row_of))}")
    return np.array([row_of[news] for news in news_ids], np.int64)


def rows_of_user(export: Export, lake: Path | Place | None, user_id: str) -> tuple[NDArray[np.int64], int]:
    """The clicks of a user of the lake, as `known_rows`. InputError without a lake, or if it has no such user."""
    if lake is None:
        raise InputError(f"--user {user_id} needs --lake, whose impressions hold what the user clicked")
    return known_rows(export, clicks_of(lake, export.record.source, user_id))


def known_rows(export: Export, news_ids: list[str]) -> tuple[NDArray[np.int64], int]:
    """(item rows of those ids that the export knows, how many it does not know): a log tells of other news too."""
    row_of = _row_of(export)
    rows = [row_of[news] for news in news_ids if news in row_of]
    return np.array(rows, np.int64), len(news_ids) - len(rows)


def _row_of(export: Export) -> dict[str, int]:
    ids, rows = export.news["news_id"].tolist(), export.news["item_row"].tolist()
    return dict(zip(ids if any(ids) else map(str, rows), rows, strict=True))


def _near(name: str, known: list[str]) -> str:
    """The ids that stand around it in alphabetical order: those that begin alike."""
    ordered = sorted(known)
    place = bisect(ordered, name)
    return nearest_ids(ordered[max(0, place - 2) : place + 2])


def recommend_to(
    export: Export,
    clicked: NDArray[np.int64],
    *,
    count: int,
    exclude_seen: bool = True,
    among: NDArray[np.int64] | None = None,
) -> list[Recommended]:
    """The `count` best news for who clicked these item rows, oldest first; no text twice, none that was clicked.

    `among`: the only item rows that may be recommended, ascending; every one of them is scored, whatever the index.
    """
    latest = clicked[-export.record.history_clicks :]
    state_D = user_state(export.user, vectors_of(export.index, latest))
    seen = set(_text_of(export, clicked).tolist()) if exclude_seen else set()
    if among is not None:
        score_X = vectors_of(export.index, among) @ state_D
        best_X = np.argsort(-score_X, kind="stable")
        return _ranked(_told(export, score_X[best_X], among[best_X], seen)[:count])
    wanted = count + len(seen)
    while True:
        score, row = (found[0] for found in search(export.index, state_D[None], wanted))
        found = _told(export, score[row >= 0], row[row >= 0], seen)
        if len(found) >= count or wanted >= export.index.ntotal:
            return _ranked(found[:count])
        wanted *= 2


def _ranked(found: list[dict[str, Any]]) -> list[Recommended]:
    return [Recommended(rank=rank, **news) for rank, news in enumerate(found, start=1)]


def _text_of(export: Export, row_X: NDArray[np.int64]) -> NDArray[np.int64]:
    """What news of the same text share: their canonical row."""
    return np.asarray(export.news["canonical_row"][np.searchsorted(export.news["item_row"], row_X)])


def _told(
    export: Export, score_X: NDArray[np.float32], row_X: NDArray[np.int64], seen: set[int]
) -> list[dict[str, Any]]:
    """What was found and not seen, of each text once."""
    found, told = [], set(seen)
    places = np.searchsorted(export.news["item_row"], row_X).tolist()
    texts = _text_of(export, row_X).tolist()
    for score, row, place, text in zip(score_X.tolist(), row_X.tolist(), places, texts, strict=True):
        if text not in told:
            told.add(text)
            names = ("news_id", "category", "subcategory", "title")
            found.append({"score": score, "item_row": row, **{name: str(export.news[name][place]) for name in names}})
    return found
