"""Ranking metrics against an independent slow implementation and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from trainer.eval.metrics import METRICS, metrics_per_impression, ranking_metrics


def slow(score: list[float], clicked: list[bool]) -> tuple[float, float, float, float]:
    """(AUC, MRR, nDCG@5, nDCG@10) of one impression, by the definitions."""
    pairs = [
        (p, n) for p, a in zip(score, clicked, strict=True) if a for n, b in zip(score, clicked, strict=True) if not b
    ]
    auc = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)
    ranked = [c for _, c in sorted(zip(score, clicked, strict=True), key=lambda pair: -pair[0])]  # sorted is stable
    ranks = [place for place, hit in enumerate(ranked, start=1) if hit]
    mrr = sum(1 / rank for rank in ranks) / len(ranks)

    def ndcg(k: int) -> float:
        best = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(ranks)) + 1))
        return sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k) / best

    return auc, mrr, ndcg(5), ndcg(10)


def impressions(rng: np.random.Generator, count: int) -> list[tuple[list[float], list[bool]]]:
    made = []
    for _ in range(count):
        size = int(rng.integers(1, 25))
        score = rng.integers(0, 6, size).astype(float) if rng.random() < 0.5 else rng.normal(size=size)
        made.append((score.tolist(), (rng.random(size) < 0.25).tolist()))
    return made


def flat(made: list[tuple[list[float], list[bool]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = np.concatenate([score for score, _ in made])
    clicked = np.concatenate([np.array(clicked, np.bool_) for _, clicked in made])
    return scores, clicked, np.cumsum([0, *(len(score) for score, _ in made)])


def test_each_impression_has_the_slow_values_and_one_class_has_none() -> None:
    made = impressions(np.random.default_rng(0), 1000)
    found = metrics_per_impression(*flat(made))
    assert found.shape == (1000, len(METRICS))
    for value_M, (score, clicked) in zip(found, made, strict=True):
        if any(clicked) and not all(clicked):
            assert value_M == pytest.approx(slow(score, clicked), abs=1e-12)
        else:
            assert np.isnan(value_M).all()
    assert min(len(score) for score, _ in made) == 1


def test_metrics_equal_the_slow_ones_with_ties_one_class_and_single_candidates() -> None:
    made = impressions(np.random.default_rng(0), 1000)
    found = ranking_metrics(*flat(made))
    evaluated = [(score, clicked) for score, clicked in made if any(clicked) and not all(clicked)]
    wanted = np.mean([slow(score, clicked) for score, clicked in evaluated], axis=0)
    assert [found.auc, found.mrr, found.ndcg5, found.ndcg10] == pytest.approx(wanted.tolist(), abs=1e-12)
    assert (found.impressions, found.skipped) == (len(evaluated), len(made) - len(evaluated))
    assert found.skipped > 0


def test_auc_equals_scikit_learn() -> None:
    made = [m for m in impressions(np.random.default_rng(1), 200) if any(m[1]) and not all(m[1])]
    for score, clicked in made:
        found = ranking_metrics(np.array(score), np.array(clicked), np.array([0, len(score)]))
        assert found.auc == pytest.approx(roc_auc_score(clicked, score), abs=1e-12)


def test_ndcg_equals_scikit_learn_whose_ties_are_broken_by_the_order_shown() -> None:
    made = [m for m in impressions(np.random.default_rng(2), 300) if any(m[1]) and not all(m[1])]
    for score, clicked in made:
        (value_M,) = metrics_per_impression(*flat([(score, clicked)]))
        places = np.argsort(np.argsort(-np.array(score), kind="stable"), kind="stable")  # distinct: no ties are left
        for name, k in (("ndcg5", 5), ("ndcg10", 10)):
            wanted = ndcg_score([clicked], [-places], k=k)
            assert value_M[METRICS.index(name)] == pytest.approx(wanted, abs=1e-12)


def test_minus_infinity_ties_with_itself_and_is_last() -> None:
    (value_M,) = metrics_per_impression(
        np.array([-np.inf, 1.0, -np.inf]), np.array([True, False, False]), np.array([0, 3])
    )
    assert value_M[:2].tolist() == [0.25, 0.5]


def test_nothing_to_evaluate_gives_nan_and_is_counted() -> None:
    found = ranking_metrics(np.array([1.0, 2.0]), np.array([True, True]), np.array([0, 2]))
    assert math.isnan(found.auc)
    assert (found.impressions, found.skipped) == (0, 1)
