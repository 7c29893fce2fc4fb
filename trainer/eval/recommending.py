"""Recommending: a user's clicks, from the lake or as given -> the news with the best scores, from an export alone."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.impression import HISTORIES, IMPRESSIONS
from trainer.eval.catalogue import delta_rows
from trainer.eval.export import Export
from trainer.eval.index import search, vectors_of
from trainer.eval.users import user_state


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


def clicks_of(lake: Path, source: str, user_id: str) -> list[str]:
    """A user's news ids in click order: the history of the first impression, then the clicks that were logged.

    As trajectories see a user. InputError if the lake's logs do not tell of the user; it names the nearest ids.
    """
    where = ("user_id", user_id)
    columns = {"source": pa.string(), "user_id": pa.string(), "impression_id": pa.string()}
    columns |= {"time": pa.timestamp("us", "UTC"), "history_length": pa.int64()}
    columns |= {"shown": pa.list_(pa.string()), "clicked": pa.list_(pa.bool_())}
    views = delta_rows(lake / IMPRESSIONS.name, columns, where=where)
    views = views.filter(pc.equal(views["source"], source)).sort_by(
        [("time", "ascending"), ("impression_id", "ascending")]
    )
    if not len(views):
        raise InputError(
            f"{lake}: the logs of source {source} tell of no user {user_id!r}.{_nearest_user(lake, user_id)}"
        )
    told = delta_rows(lake / HISTORIES.name, {"source": pa.string(), "clicks": pa.list_(pa.string())}, where=where)
    sequences = told.filter(pc.equal(told["source"], source))["clicks"].to_pylist()
    first: list[str] = max(sequences, key=len, default=[])[: views["history_length"][0].as_py()]
    lists = zip(views["shown"].to_pylist(), views["clicked"].to_pylist(), strict=True)
    logged = [news for shown, marks in lists for news, mark in zip(shown, marks or [], strict=False) if mark]
    return first + logged


def _nearest_user(lake: Path, user_id: str) -> str:
    known = set(delta_rows(lake / IMPRESSIONS.name, {"user_id": pa.string()})["user_id"].to_pylist())
    return _near(user_id, list(known))


def rows_of(export: Export, news_ids: list[str]) -> NDArray[np.int64]:
    """The item rows of news ids; where the export knows no ids, of rows as numbers. InputError names a stranger."""
    row_of = _row_of(export)
    for news in news_ids:
        if news not in row_of:
            raise InputError(f"the export knows no news {news!r}.{_near(news, list(row_of))}")
    return np.array([row_of[news] for news in news_ids], np.int64)


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
    nearest = ordered[max(0, place - 2) : place + 2]
    return f" The nearest: {', '.join(nearest)}" if nearest else " It knows none at all"


def recommend_to(
    export: Export, clicked: NDArray[np.int64], *, count: int, exclude_seen: bool = True
) -> list[Recommended]:
    """The `count` best news for who clicked these item rows, oldest first; no text twice, none that was clicked."""
    latest = clicked[-export.record.history_clicks :]
    state_D = user_state(export.user, vectors_of(export.index, latest))
    seen = set(_text_of(export, clicked).tolist()) if exclude_seen else set()
    wanted = count + len(seen)
    while True:
        score, row = (found[0] for found in search(export.index, state_D[None], wanted))
        found = _told(export, score[row >= 0], row[row >= 0], seen)
        if len(found) >= count or wanted >= export.index.ntotal:
            return [Recommended(rank=rank, **told) for rank, told in enumerate(found[:count], start=1)]
        wanted *= 2


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
