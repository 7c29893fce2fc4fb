"""Judging: a checkpoint's scores of its packed directory's evaluation impressions, and all that they tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import InputError
from trainer.checkpoint.files import Checkpoint
from trainer.checkpoint.selection import choices_of
from trainer.data.evaluation import labelled
from trainer.data.validation import Evaluation, all_of, without_validation
from trainer.eval.baselines import EvaluationInputs, with_baselines, zero_shot_scores
from trainer.eval.examples import Best, examples
from trainer.eval.impressions import Impressions, dates
from trainer.eval.metrics import FloatArray, ranking_metrics
from trainer.eval.predictions import ids_in_order, prediction_lines, repeated_ids
from trainer.eval.ranking import model_scores, shown_scores, user_vectors
from trainer.eval.recall import best_of_day, recall_over_days
from trainer.eval.verdict import values_of, verdict
from trainer.model.item_vectors import ItemVectors, model_vectors
from trainer.ranks.process_group import Ranks, sum_in_place
from trainer.ranks.split_work import Share
from trainer.setup.prepare import Prepared, load_weights

NO_CHOICE = "Go on by --resume auto with run.early_stop_epochs = 0, so that nothing is chosen"
RECOMMENDED = 5  # news that an example's user would be shown first, of all that the day had


def model_auc(prepared: Prepared, validation: Evaluation) -> float:
    """Mean AUC per impression. Training goes on as if it had not been asked: no coin is tossed, no mode changed."""
    impressions = Impressions.of(validation)
    limit = prepared.config.run.history_clicks
    scores = model_scores(prepared.encoder, prepared.head.user, prepared.items, impressions, history_clicks=limit)
    metrics = ranking_metrics(scores, impressions.clicked_X, impressions.shown_start_I1)
    if not metrics.impressions:
        raise InputError(
            f"no validation impression holds both a click and an unclicked news. Set another run.validate. {NO_CHOICE}"
        )
    return metrics.auc


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A checkpoint's scores, the same on every rank."""

    evaluation: Evaluation
    """all of it but what chose the checkpoint"""
    chose: int
    """impressions that did"""
    judged: Impressions
    scores: dict[str, FloatArray]
    """of the entries of `judged`, by method: model and zero_shot; empty where no impression carries click marks"""
    recall: dict[str, Any]
    user_ID: Tensor | None
    """of the impressions of `judged`, and in `vectors` what they were scored against"""
    vectors: ItemVectors
    asked: Impressions
    """those without click marks"""
    predicted_X: FloatArray
    """the model's scores of the entries of `asked`; empty unless predictions were asked for"""


def scored(prepared: Prepared, saved: Checkpoint, ranks: Ranks, *, predict: bool) -> Scored:
    """Encode and score, each rank its share. Before, `prepared` holds the untrained model, after it the checkpoint's.

    InputError where there is nothing to judge or, with `predict`, nothing to predict.
    """
    evaluation, choices = prepared.directory.evaluation(), choices_of(saved)
    if choices is None:  # all of its own directory's
        own = not _of_another(saved, prepared) and len(labelled(evaluation))
        choices = [all_of(evaluation)] if own else []
    evaluation, chose = without_validation(evaluation, choices)
    judged, asked = Impressions.of(evaluation), Impressions.without_labels(evaluation)
    _check(judged, asked, chose, predict=predict)
    share = Share(ranks.rank, ranks.world, sum_in_place)
    scores = {"model": np.zeros(0)} if judged.size else {}
    if judged.size:
        scores["zero_shot"] = zero_shot_scores(prepared.encoder, prepared.items, judged, share)
    load_weights(prepared.model, saved)
    rows = np.union1d(judged.rows, asked.rows) if predict else judged.rows
    vectors = model_vectors(prepared.encoder, prepared.items, rows, share)
    recall, predicted_X, user_ID = {}, np.zeros(0), None
    if judged.size:
        user_ID = _users(prepared, vectors, judged, share)
        scores["model"] = shown_scores(user_ID, vectors, judged, share)
        recall = recall_over_days(user_ID, vectors, judged, dates(labelled(evaluation)))
    if predict:
        predicted_X = shown_scores(_users(prepared, vectors, asked, share), vectors, asked, share)
    return Scored(
        evaluation=evaluation,
        chose=chose,
        judged=judged,
        scores=scores,
        recall=recall,
        user_ID=user_ID,
        vectors=vectors,
        asked=asked,
        predicted_X=predicted_X,
    )


def _check(judged: Impressions, asked: Impressions, chose: int, *, predict: bool) -> None:
    if predict and not asked.size:
        raise InputError(
            "--predictions, but every evaluation impression carries click marks. Ingest the log whose clicks are to be "
            "predicted, run ./feedloop build_trajectories --unlabelled and ./feedloop pack, or leave it out"
        )
    if not judged.size and chose and not predict:
        raise InputError(
            f"all {chose} labelled evaluation impressions chose this checkpoint, so that their figures would flatter "
            "it. Name a --data with other impressions, or train with run.validate, which leaves some to judge"
        )
    if not judged.size and not predict:
        raise InputError(
            f"none of the {asked.size} evaluation impressions carries click marks: there is nothing to judge. "
            "Add --predictions FILE to write what the model makes of them"
        )


def _users(prepared: Prepared, vectors: ItemVectors, impressions: Impressions, share: Share) -> Tensor:
    limit = prepared.config.run.history_clicks
    return user_vectors(prepared.head.user, vectors, impressions, history_clicks=limit, share=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """What is told of a checkpoint."""

    summary: dict[str, Any]
    examples: list[dict[str, Any]] | None
    """a few impressions with titles; None without a catalogue, or with nothing judged"""
    predictions: Iterator[str] | None
    """the lines of MIND's file; None unless they were asked for"""


def judgement(prepared: Prepared, saved: Checkpoint, found: Scored, beside: EvaluationInputs) -> EvaluationResult:
    """Every method judged on the same impressions; what was left out and what is doubtful is said."""
    evaluation = found.evaluation
    shown, lines, doubts = None, None, _of_another(saved, prepared)
    scores, left_out = with_baselines(found.scores, prepared.clicks_V, evaluation, beside)
    values = values_of(scores, found.judged)
    told = verdict(evaluation, values, trained_V=prepared.trained_V, told_V=prepared.items.tokens_V > 0)
    if beside.catalogue is not None and scores:
        best = _best_of_day(found, dates(labelled(evaluation)))
        shown = examples(evaluation, scores["model"], values["model"][:, 0], beside.catalogue, best=best)
    if len(found.predicted_X):
        named = ids_in_order(evaluation)
        lines = prediction_lines(found.predicted_X, found.asked, named)
        doubts += repeated_ids(named)
    elif found.asked.size:
        left_out.append(f"{found.asked.size:,} impressions without click marks: --predictions FILE tells their order")
    if found.chose:
        rules = dict.fromkeys(choice.rule for choice in choices_of(saved) or [])
        left_out.append(f"{found.chose:,} impressions that chose the checkpoint ({', '.join(rules) or 'all'})")
    asked = (prepared.directory.manifest.config.get("trajectories") or {}).get("evaluate_from")
    summary = {
        "step": saved.state["position"]["step"],
        "split": {"evaluate_from": asked or told["split"]["first"], **told.pop("split")},
        "unlabelled": found.asked.size,
        "chose": found.chose,
        **told,
        "recall": found.recall,
        "alarms": [*told["alarms"], *doubts],
        "left_out": [*left_out, *told["left_out"]],
    }
    return EvaluationResult(summary=summary, examples=shown, predictions=lines)


def _best_of_day(found: Scored, day_I: NDArray[Any]) -> Best:
    def best(at: int) -> list[tuple[int, float]]:
        assert found.user_ID is not None, "what was judged has users"
        return best_of_day(found.user_ID[at], found.vectors, found.judged, day_I, at, count=RECOMMENDED)

    return best


def _of_another(saved: Checkpoint, prepared: Prepared) -> list[str]:
    """A sentence where the checkpoint learnt from other batches than the ones beside these impressions."""
    if saved.state["data"]["manifest_sha256"] == prepared.directory.manifest_sha256:
        return []
    unrecorded = [
        "an older feedloop chose the checkpoint by evaluation impressions that it did not record: where some of them "
        "are among these, the figures flatter it"
    ]
    return [
        *(unrecorded if choices_of(saved) is None else []),
        "the checkpoint was trained on another packed directory than --data: see that its clicks are older than these "
        "impressions; popularity and new news are by the batches of --data",
    ]
