"""Judging: the AUC of a model as it is now on its packed directory's evaluation impressions."""

from __future__ import annotations

from schemas.errors import InputError
from trainer.eval.impressions import Impressions
from trainer.eval.metrics import ranking_metrics
from trainer.eval.ranking import model_scores
from trainer.loop.prepare import Prepared


def model_auc(prepared: Prepared) -> float:
    """Mean AUC per impression. Training goes on as if it had not been asked: no coin is tossed, no mode changed."""
    impressions = Impressions.of(prepared.directory.evaluation())
    limit = prepared.config.run.history_clicks
    scores = model_scores(prepared.encoder, prepared.head.user, prepared.items, impressions, history_clicks=limit)
    metrics = ranking_metrics(scores, impressions.clicked_X, impressions.shown_start_I1)
    if not metrics.impressions:
        raise InputError("no evaluation impression holds both a click and an unclicked news. Set early_stop_epochs = 0")
    return metrics.auc
