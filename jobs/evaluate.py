"""A checkpoint -> AUC, MRR, nDCG on impressions it never saw, beside baselines and the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.terminal.progress import stage
from trainer.eval.impressions import Impressions, read_truth, true_probabilities
from trainer.eval.metrics import FloatArray, ranking_metrics
from trainer.eval.ranking import model_scores, popularity_scores, zero_shot_scores
from trainer.loop.prepare import DeviceName, device_of, load_weights, prepare_again
from trainer.loop.retention import load_chosen


def evaluate(
    *,
    checkpoint: Path,
    data: Path,
    truth: Path | None = None,
    store: Path | None = None,
    device: DeviceName = "auto",
) -> dict[str, Any]:
    """AUC, MRR, nDCG@5 and nDCG@10 per impression: the model, popularity, zero-shot and the oracle.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote; of a run's folder of them the best, or else the newest.
    data
        The packed directory whose evaluation impressions are scored.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to encode.
    """
    saved = load_chosen(checkpoint)
    with stage("evaluation"):
        prepared = prepare_again(saved, data, store=store, device=device_of(device))
        table = prepared.directory.evaluation()
        impressions = Impressions.of(table)
        scores: dict[str, FloatArray] = {
            "popularity": popularity_scores(prepared.clicks_V, impressions),
            "zero_shot": zero_shot_scores(prepared.encoder, prepared.items, impressions),
        }
        load_weights(prepared.model, saved)
        limit = prepared.config.run.history_clicks
        scores["model"] = model_scores(
            prepared.encoder, prepared.head.user, prepared.items, impressions, history_clicks=limit
        )
        if truth is not None:
            scores["oracle"] = true_probabilities(table, read_truth(truth))
    return {
        name: ranking_metrics(score_X, impressions.clicked_X, impressions.shown_start_I1).as_dict()
        for name, score_X in scores.items()
    }


if __name__ == "__main__":
    raise SystemExit(run(evaluate))
