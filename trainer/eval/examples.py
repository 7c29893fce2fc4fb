"""Describes a few evaluated impressions with titles, so that a reader sees what the model ranks first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from trainer.data.evaluation import labelled
from trainer.eval.catalogue import Catalogue
from trainer.eval.impressions import Impressions
from trainer.eval.metrics import FloatArray, IntArray
from trainer.eval.predictions import ranks_of

COUNT = 60
_HISTORY = 12
_CANDIDATES = 40
_SEED = 7


Best = Callable[[int], list[tuple[int, float]]]  # impression -> (item row, score) of what to recommend, best first


def examples(
    evaluation: pa.Table,
    score_X: FloatArray,
    auc_I: FloatArray,
    catalogue: Catalogue,
    *,
    best: Best,
    count: int = COUNT,
) -> list[dict[str, Any]]:
    """`count` random evaluated impressions in the order of the table; histories oldest first, candidates by rank.

    `auc_I`: NaN where an impression is not evaluated. Long impressions keep the best candidates and all clicked ones.
    """
    evaluated = np.flatnonzero(~np.isnan(auc_I))
    drawn = np.sort(np.random.default_rng(_SEED).permutation(evaluated)[:count])
    impressions, known = Impressions.of(evaluation), _KnownNews(catalogue)
    rank_X = ranks_of(score_X, impressions.shown_start_I1)
    rows = labelled(evaluation).take(pa.array(drawn)).to_pylist()
    described = []
    for at, row in zip(drawn.tolist(), rows, strict=True):
        place_K = _best_and_clicked(impressions, rank_X, at)
        shown_K = place_K - impressions.shown_start_I1[at]
        candidates = [
            {
                **known.news(row["shown_id"][shown]),
                "score": float(score_X[place]),
                "rank": int(rank_X[place]),
                "clicked": bool(row["clicked"][shown]),
            }
            for shown, place in zip(shown_K.tolist(), place_K.tolist(), strict=True)
        ]
        described.append(
            {
                "user_id": row["user_id"],
                "impression_id": row["impression_id"],
                "time": row["time"].isoformat(),
                "history": [known.row(item) for item in row["history_row"][-_HISTORY:]],
                "candidates": candidates,
                "recommended": [{**known.row(item), "score": score} for item, score in best(at)],
                "auc": float(auc_I[at]),
            }
        )
    return described


def _best_and_clicked(impressions: Impressions, rank_X: IntArray, at: int) -> IntArray:
    """Positions of an impression's entries by rank: all clicked ones, and the best of the others up to _CANDIDATES."""
    place_K = np.arange(*impressions.shown_start_I1[at : at + 2])
    place_K = place_K[np.argsort(rank_X[place_K])]
    clicked_K = impressions.clicked_X[place_K]
    room = max(0, _CANDIDATES - int(clicked_K.sum()))
    return np.asarray(place_K[clicked_K | (np.cumsum(~clicked_K) <= room)])


class _KnownNews:
    """Id, title and category of news, by item row and by news id."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._row_of = {news: row for row, news in enumerate(catalogue.news_id_V.tolist()) if news}

    def row(self, row: int) -> dict[str, str]:
        texts = self._catalogue
        return {"id": texts.news_id_V[row], "title": texts.title_V[row], "category": texts.category_V[row]}

    def news(self, news_id: str) -> dict[str, str]:
        """The news under the id given, which may differ from the id of its row."""
        return {**self.row(self._row_of.get(news_id, 0)), "id": news_id}
