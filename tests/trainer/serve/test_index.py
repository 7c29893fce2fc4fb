"""Indexes: ids are item rows, flat is exact, the others report their recall."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from trainer.serve.index import IndexKind, build_index, search, vectors_of

ROWS = np.arange(3, 3 + 2 * 900, 2)
VECTORS = np.random.default_rng(0).normal(size=(900, 16)).astype(np.float32)
USERS = np.random.default_rng(1).normal(size=(40, 16)).astype(np.float32)


def test_a_flat_index_finds_what_sorting_finds() -> None:
    built = build_index(VECTORS, ROWS, "flat", USERS)
    score, row = search(built.index, USERS, 5)
    order = np.argsort(-(USERS @ VECTORS.T), axis=1)[:, :5]
    assert np.array_equal(row, ROWS[order])
    assert np.allclose(score, np.take_along_axis(USERS @ VECTORS.T, order, 1), atol=1e-4)
    assert (built.recall, built.setting) == (1.0, 0)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_reports_its_recall_and_keeps_its_setting(tmp_path: Path, kind: IndexKind) -> None:
    built = build_index(VECTORS, ROWS, kind, USERS)
    faiss.write_index(built.index, str(tmp_path / "index"))
    again = faiss.read_index(str(tmp_path / "index"))
    exact = search(build_index(VECTORS, ROWS, "flat", USERS).index, USERS, 10)[1]
    found = search(again, USERS, 10)[1]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert share == pytest.approx(built.recall, abs=1e-4)
    assert built.recall >= 0.99


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_index_gives_its_vectors_back(kind: IndexKind) -> None:
    built = build_index(VECTORS, ROWS, kind, USERS)
    assert np.array_equal(vectors_of(built.index, ROWS[[7, 2, 7]]), VECTORS[[7, 2, 7]])
    assert vectors_of(built.index, ROWS[:0]).shape == (0, 16)


def test_few_vectors_make_an_index_of_any_kind() -> None:
    for kind in ("flat", "ivf", "hnsw"):
        built = build_index(VECTORS[:3], ROWS[:3], kind, USERS)
        assert search(built.index, USERS, 10)[1].shape == (40, 3)
        assert built.recall == 1
