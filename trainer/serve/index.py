"""Builds a FAISS index of news vectors for search by dot product, and measures its recall of an exact search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

IndexKind = Literal["flat", "ivf", "hnsw"]
Vectors = NDArray[np.float32]

RECALL_AT = 10
_TIE = 1e-5
_ENOUGH = 0.99  # recall that an approximate index must reach
_NEIGHBOURS = 32  # of each vector in an hnsw graph
_KNOB = {"ivf": "nprobe", "hnsw": "efSearch"}  # the parameter that trades recall for speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An index and its recall."""

    index: Any
    kind: IndexKind
    recall: float
    """share of the exact ten best among its own ten best, over the test users"""
    setting: int
    """ivf: lists searched; hnsw: candidates kept; flat: 0"""


def build_index(vector_ND: Vectors, row_N: NDArray[np.int64], kind: IndexKind, user_MD: Vectors) -> Built:
    """An index whose ids are item rows. Approximate ones are set to a recall of .99 for these users if possible."""
    exact = _with_ids(faiss.IndexFlatIP(vector_ND.shape[1]), vector_ND, row_N)
    if kind == "flat":
        return Built(index=exact, kind=kind, recall=1.0, setting=0)
    index = _with_ids(_untrained(kind, *vector_ND.shape), vector_ND, row_N)
    wanted_MK = search(exact, user_MD, RECALL_AT)[0]
    for setting in _settings(kind, len(vector_ND)):
        faiss.ParameterSpace().set_index_parameter(index, _KNOB[kind], setting)
        found_MK = search(index, user_MD, RECALL_AT)[0]
        recall = float((found_MK >= wanted_MK[:, -1:] - _TIE).mean())  # by score: folded news have equal ones
        if recall >= _ENOUGH:
            break
    return Built(index=index, kind=kind, recall=round(recall, 4), setting=setting)


def search(index: Any, user_MD: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """(scores, item rows), both (M, count), best first. Fewer columns if the index holds fewer vectors."""
    score, row = index.search(np.ascontiguousarray(user_MD, np.float32), min(count, index.ntotal))
    return score, row


def vectors_of(index: Any, rows: NDArray[np.int64]) -> Vectors:
    """The vectors (len(rows), D) of these item rows in the index."""
    inner = faiss.downcast_index(index.index)
    if isinstance(inner, faiss.IndexIVF) and inner.direct_map.no():
        inner.make_direct_map()
    found = [index.reconstruct(int(row)) for row in rows]
    return np.array(found, np.float32).reshape(len(rows), index.d)


def _with_ids(inner: Any, vector_ND: Vectors, row_N: NDArray[np.int64]) -> Any:
    vectors = np.ascontiguousarray(vector_ND, np.float32)
    if not inner.is_trained:
        inner.train(vectors)
    index = faiss.IndexIDMap2(inner)
    index.add_with_ids(vectors, row_N)
    return index


def _untrained(kind: IndexKind, count: int, width: int) -> Any:
    if kind == "hnsw":
        return faiss.IndexHNSWFlat(width, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    lists = max(1, min(int(4 * count**0.5), count // 39))  # FAISS warns below 39 vectors per list
    quantiser = faiss.IndexFlatIP(width)
    return faiss.IndexIVFFlat(quantiser, width, lists, faiss.METRIC_INNER_PRODUCT)


def _settings(kind: IndexKind, count: int) -> Iterator[int]:
    """Settings, doubled until one searches the entire index."""
    setting = 1 if kind == "ivf" else 2 * RECALL_AT
    while True:
        yield setting
        if setting >= count:
            return
        setting *= 2
