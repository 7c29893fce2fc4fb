"""Writes the model's ranks of unlabelled impressions in MIND's format, one line per impression."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.data.evaluation import unlabelled
from trainer.eval.impressions import Impressions
from trainer.eval.metrics import FloatArray, IntArray, best_first


def ranks_of(score_X: FloatArray, start_I1: IntArray) -> NDArray[np.int64]:
    """The rank of each entry within its impression, 1 = best; ties keep the order shown."""
    rank_X = np.empty(len(score_X), np.int64)
    rank_X[best_first(score_X, start_I1)] = np.arange(len(score_X)) - np.repeat(start_I1[:-1], np.diff(start_I1)) + 1
    return rank_X


def ids_in_order(evaluation: pa.Table) -> list[tuple[str, int]]:
    """(id, number of the unlabelled impression) for every id that was logged; numeric ids first, as numbers."""
    table = unlabelled(evaluation)
    others = table["also_seen_as"].to_pylist() if "also_seen_as" in table.column_names else [None] * len(table)
    ids = zip(table["impression_id"].to_pylist(), others, strict=True)
    named = [(name, at) for at, (own, more) in enumerate(ids) for name in dict.fromkeys([own, *(more or [])])]
    return sorted(named, key=_as_number)


def _as_number(named: tuple[str, int]) -> tuple[bool, int, tuple[str, int]]:
    number = named[0] if named[0].isdecimal() else ""
    return not number, int(number or 0), named


def repeated_ids(named: list[tuple[str, int]]) -> list[str]:
    """A sentence where several impressions share an id: logs reuse ids, MIND's site accepts each once."""
    twice = len(named) - len({name for name, _ in named})
    return [f"{twice:,} ids of unlabelled impressions stand more than once in the predictions"] if twice else []


def prediction_lines(score_X: FloatArray, impressions: Impressions, named: list[tuple[str, int]]) -> Iterator[str]:
    """`<id> [r1,r2,...]` for each id: the ranks of its impression's news, in the order shown."""
    start_I1 = impressions.shown_start_I1
    rank_X = ranks_of(score_X, start_I1)
    for name, at in named:
        yield f"{name} [{','.join(map(str, rank_X[start_I1[at] : start_I1[at + 1]].tolist()))}]"
