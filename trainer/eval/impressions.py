"""Turns the evaluation impressions into flat arrays for metrics."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.storage.place import Place
from schemas.storage.stand_in import here
from trainer.data.evaluation import labelled, unlabelled
from trainer.eval.metrics import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Impressions:
    """I impressions; i shows entries shown_start_I1[i] to shown_start_I1[i+1] of shown_X. Same for histories."""

    history_Y: IntArray
    history_start_I1: IntArray
    shown_X: IntArray
    shown_start_I1: IntArray
    clicked_X: BoolArray

    @property
    def size(self) -> int:
        """I."""
        return len(self.shown_start_I1) - 1

    @property
    def impression_X(self) -> IntArray:
        """The impression of each shown entry."""
        return np.repeat(np.arange(self.size), np.diff(self.shown_start_I1))

    @property
    def rows(self) -> NDArray[np.int64]:
        """Every item row in a history or shown, ascending."""
        return np.asarray(np.unique(np.concatenate([self.history_Y, self.shown_X])), np.int64)

    @classmethod
    def of(cls, table: pa.Table) -> Impressions:
        """The labelled impressions of a table EVALUATION."""
        return cls._of(labelled(table))

    @classmethod
    def without_labels(cls, table: pa.Table) -> Impressions:
        """The impressions of a table EVALUATION without click marks, as if nothing were clicked."""
        return cls._of(unlabelled(table))

    @classmethod
    def _of(cls, table: pa.Table) -> Impressions:
        history_Y, history_start_I1 = _flat(table["history_row"])
        shown_X, shown_start_I1 = _flat(table["shown_row"])
        clicked_X = _flat(table["clicked"])[0] if table["clicked"].null_count == 0 else np.zeros(len(shown_X))
        return cls(
            history_Y=history_Y,
            history_start_I1=history_start_I1,
            shown_X=shown_X,
            shown_start_I1=shown_start_I1,
            clicked_X=clicked_X.astype(np.bool_),
        )


def dates(evaluation: pa.Table) -> NDArray[np.datetime64]:
    """The UTC date of each impression."""
    times = evaluation["time"].cast(pa.timestamp("us")).to_numpy()
    return np.asarray(times, "datetime64[us]").astype("datetime64[D]")


def _flat(column: pa.ChunkedArray) -> tuple[NDArray[Any], IntArray]:
    """(flat values, offsets) of a list column."""
    lengths = column.combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


_IDENTITY = ("impression_id", "user_id", "time")  # logs reuse impression ids for other users and days
TRUTH_COLUMNS = (*_IDENTITY, "shown", "probability")


def read_truth(path: Path | Place) -> pa.Table:
    """The probabilities with which a synthetic publisher drew its clicks. InputError if the file lacks them."""
    try:
        with here(Place.of(path)) as file:
            return pq.read_table(file, columns=list(TRUTH_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.ENOENT,
        ):  # the machine
            raise
        raise InputError(
            f"{path}: no Parquet file with {', '.join(TRUTH_COLUMNS)} ({error}). "
            "Leave --truth out where the true probabilities are unknown"
        ) from error


def true_probabilities(evaluation: pa.Table, truth: pa.Table) -> FloatArray:
    """The oracle's scores: the click probability of each entry of the labelled impressions.

    `truth` has TRUTH_COLUMNS. InputError if it lacks an impression or a shown news.
    """
    evaluation = labelled(evaluation)
    rows = zip(_identities(truth), *(truth[name].to_pylist() for name in TRUTH_COLUMNS[-2:]), strict=True)
    known = {identity: dict(zip(shown, probability, strict=True)) for identity, shown, probability in rows}
    scores: list[float] = []
    for identity, shown in zip(_identities(evaluation), evaluation["shown_id"].to_pylist(), strict=True):
        if identity not in known:
            raise InputError(f"the truth has no impression {identity[0]}: it belongs to other logs")
        probability_of = known[identity]
        if not probability_of.keys() >= set(shown):
            raise InputError(
                f"the truth of impression {identity[0]} lacks news that were shown: it belongs to other logs"
            )
        scores.extend(probability_of[news] for news in shown)
    return np.array(scores, np.float64)


def _identities(table: pa.Table) -> list[tuple[str, str, int]]:
    """The columns that identify each impression; the time in microseconds, whatever the file's unit is."""
    times = table["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return list(zip(table["impression_id"].to_pylist(), table["user_id"].to_pylist(), times.to_pylist(), strict=True))
