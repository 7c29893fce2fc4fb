"""Recommends to a user with given clicks the news with the best scores, among all news of an export or some."""

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
from trainer.serve.user_clicks import clicks_of, nearest_ids, user_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """One recommended news; rank 1 is the best."""

    rank: int
    score: float
    news_id: str
    item_row: int
    category: str
    subcategory: str
    title: str


def rows_of(export: Export, news_ids: list[str]) -> NDArray[np.int64]:
    """The item rows of news ids, or of row numbers if the export has no ids. InputError names an unknown id."""
    row_of = _row_of(export)
    for news in news_ids:
        if news not in row_of:
            raise InputError(f"the export knows no news {news!r}.{_near(news, list(row_of))}")
    return np.array([row_of[news] for news in news_ids], np.int64)


def rows_of_user(export: Export, lake: Path | Place | None, user_id: str) -> tuple[NDArray[np.int64], int]:
    """The clicks of a user of the lake, as `known_rows`. InputError without a lake, or if it has no such user."""
    if lake is None:
        raise InputError(f"--user {user_id} needs --lake, whose impressions hold the user's clicks")
    return known_rows(export, clicks_of(lake, export.record.source, user_id))


def known_rows(export: Export, news_ids: list[str]) -> tuple[NDArray[np.int64], int]:
    """(item rows of the ids that the export has, how many it lacks): logs contain other news too."""
    row_of = _row_of(export)
    rows = [row_of[news] for news in news_ids if news in row_of]
    return np.array(rows, np.int64), len(news_ids) - len(rows)


def _row_of(export: Export) -> dict[str, int]:
    ids, rows = export.news["news_id"].tolist(), export.news["item_row"].tolist()
    return dict(zip(ids if any(ids) else map(str, rows), rows, strict=True))


def _near(name: str, known: list[str]) -> str:
    """The known ids around a name in alphabetical order, which begin like it."""
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
    """The `count` best news for a user who clicked these item rows, oldest first; no text twice, none clicked before.

    `among`: the only item rows that may be recommended, ascending; all of them are scored, whatever the index.
    """
    latest = clicked[-export.record.history_clicks :]
    state_D = user_state(export.user, vectors_of(export.index, latest))
    seen = set(_text_of(export, clicked).tolist()) if exclude_seen else set()
    if among is not None:
        score_X = vectors_of(export.index, among) @ state_D
        best_X = np.argsort(-score_X, kind="stable")
        return _ranked(_unseen(export, score_X[best_X], among[best_X], seen)[:count])
    wanted = count + len(seen)
    while True:
        score, row = (found[0] for found in search(export.index, state_D[None], wanted))
        found = _unseen(export, score[row >= 0], row[row >= 0], seen)
        if len(found) >= count or wanted >= export.index.ntotal:
            return _ranked(found[:count])
        wanted *= 2


def _ranked(found: list[dict[str, Any]]) -> list[Recommended]:
    return [Recommended(rank=rank, **news) for rank, news in enumerate(found, start=1)]


def _text_of(export: Export, row_X: NDArray[np.int64]) -> NDArray[np.int64]:
    """The canonical row of each item row, which news with the same text share."""
    return np.asarray(export.news["canonical_row"][np.searchsorted(export.news["item_row"], row_X)])


def _unseen(
    export: Export, score_X: NDArray[np.float32], row_X: NDArray[np.int64], seen: set[int]
) -> list[dict[str, Any]]:
    """The found news whose texts are not in `seen`, each text once."""
    unseen, texts_so_far = [], set(seen)
    places = np.searchsorted(export.news["item_row"], row_X).tolist()
    texts = _text_of(export, row_X).tolist()
    for score, row, place, text in zip(score_X.tolist(), row_X.tolist(), places, texts, strict=True):
        if text not in texts_so_far:
            texts_so_far.add(text)
            names = ("news_id", "category", "subcategory", "title")
            unseen.append({"score": score, "item_row": row, **{name: str(export.news[name][place]) for name in names}})
    return unseen
