"""Evaluates a checkpoint: scores the evaluation impressions of a packed directory and summarises the scores."""

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

NO_CHOICE = "Resume with --resume auto and run.early_stop_epochs = 0, so that nothing is chosen"
RECOMMENDED = 5  # news per example: the best for its user among all news of the day


def model_auc(prepared: Prepared, validation: Evaluation) -> float:
    """Mean AUC per impression. Has no effect on training: it uses no random numbers and restores all modes."""
    impressions = Impressions.of(validation)
    limit = prepared.config.run.history_clicks
    scores = model_scores(
        prepared.vector_encoder(), prepared.head.user, prepared.items, impressions, history_clicks=limit
    )
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
    """all impressions except those that chose the checkpoint"""
    chose: int
    """the number of impressions that chose it"""
    labelled: Impressions
    scores: dict[str, FloatArray]
    """of the entries of `labelled`, by method: model and zero_shot; empty where no impression carries click marks"""
    recall: dict[str, Any]
    user_ID: Tensor | None
    """of the impressions of `labelled`"""
    vectors: ItemVectors
    """of all items in `labelled` and, for predictions, `unlabelled`"""
    unlabelled: Impressions
    predicted_X: FloatArray
    """the model's scores of the entries of `unlabelled`; empty unless predictions are requested"""


def score_checkpoint(prepared: Prepared, saved: Checkpoint, ranks: Ranks, *, predict: bool) -> Scored:
    """Encodes and scores, each rank its share. `prepared` holds the untrained model before and the checkpoint's after.

    InputError where there is nothing to evaluate or, with `predict`, nothing to predict.
    """
    evaluation, choices = prepared.directory.evaluation(), choices_of(saved)
    if choices is None:  # all labelled impressions of its own directory
        own = not _of_another(saved, prepared) and len(labelled(evaluation))
        choices = [all_of(evaluation)] if own else []
    evaluation, chose = without_validation(evaluation, choices)
    known, unknown = Impressions.of(evaluation), Impressions.without_labels(evaluation)
    _check_sizes(known.size, unknown.size, chose, predict=predict)
    share = Share(ranks.rank, ranks.world, sum_in_place)
    scores = {"model": np.zeros(0)} if known.size else {}
    if known.size:
        scores["zero_shot"] = zero_shot_scores(prepared.encoder, prepared.items, known, share)
    load_weights(prepared.model, saved)
    rows = np.union1d(known.rows, unknown.rows) if predict else known.rows
    vectors = model_vectors(prepared.vector_encoder(), prepared.items, rows, share)
    recall, predicted_X, user_ID = {}, np.zeros(0), None
    if known.size:
        user_ID = _users(prepared, vectors, known, share)
        scores["model"] = shown_scores(user_ID, vectors, known, share)
        recall = recall_over_days(user_ID, vectors, known, dates(labelled(evaluation)))
    if predict:
        predicted_X = shown_scores(_users(prepared, vectors, unknown, share), vectors, unknown, share)
    return Scored(
        evaluation=evaluation,
        chose=chose,
        labelled=known,
        scores=scores,
        recall=recall,
        user_ID=user_ID,
        vectors=vectors,
        unlabelled=unknown,
        predicted_X=predicted_X,
    )


def _check_sizes(labelled: int, unlabelled: int, chose: int, *, predict: bool) -> None:
    if predict and not unlabelled:
        raise InputError(
            "--predictions, but every evaluation impression carries click marks. Ingest the log whose clicks are to be "
            "predicted, run ./feedloop build_trajectories --unlabelled and ./feedloop pack, or leave it out"
        )
    if not labelled and chose and not predict:
        raise InputError(
            f"all {chose} labelled evaluation impressions chose this checkpoint, so that their figures would flatter "
            "it. Name a --data with other impressions, or train with run.validate, which leaves some for evaluation"
        )
    if not labelled and not predict:
        raise InputError(
            f"none of the {unlabelled} evaluation impressions carries click marks: there is nothing to evaluate. "
            "Add --predictions FILE to write the model's ranks of them"
        )


def _users(prepared: Prepared, vectors: ItemVectors, impressions: Impressions, share: Share) -> Tensor:
    limit = prepared.config.run.history_clicks
    return user_vectors(prepared.head.user, vectors, impressions, history_clicks=limit, share=share)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """The result of evaluating a checkpoint."""

    summary: dict[str, Any]
    examples: list[dict[str, Any]] | None
    """a few impressions with titles; None without a catalogue or without labelled impressions"""
    predictions: Iterator[str] | None
    """the lines of MIND's file; None unless they are requested"""


def evaluate_scores(prepared: Prepared, saved: Checkpoint, found: Scored, inputs: EvaluationInputs) -> EvaluationResult:
    """Evaluates every method on the same impressions; lists in sentences what is left out and what is doubtful."""
    evaluation = found.evaluation
    shown, lines, doubts = None, None, _of_another(saved, prepared)
    scores, left_out = with_baselines(found.scores, prepared.clicks_V, evaluation, inputs)
    values = values_of(scores, found.labelled)
    figures = verdict(evaluation, values, trained_V=prepared.trained_V, has_tokens_V=prepared.items.tokens_V > 0)
    if inputs.catalogue is not None and scores:
        best = _best_of_day(found, dates(labelled(evaluation)))
        shown = examples(evaluation, scores["model"], values["model"][:, 0], inputs.catalogue, best=best)
    unlabelled = found.unlabelled.size
    if len(found.predicted_X):
        named = ids_in_order(evaluation)
        lines = prediction_lines(found.predicted_X, found.unlabelled, named)
        doubts += repeated_ids(named)
    elif unlabelled:
        left_out.append(f"{unlabelled:,} impressions without click marks: --predictions FILE writes their order")
    if found.chose:
        rules = dict.fromkeys(choice.rule for choice in choices_of(saved) or [])
        left_out.append(f"{found.chose:,} impressions that chose the checkpoint ({', '.join(rules) or 'all'})")
    evaluate_from = (prepared.directory.manifest.config.get("trajectories") or {}).get("evaluate_from")
    summary = {
        "step": saved.state["position"]["step"],
        "split": {"evaluate_from": evaluate_from or figures["split"]["first"], **figures.pop("split")},
        "unlabelled": unlabelled,
        "chose": found.chose,
        **figures,
        "recall": found.recall,
        "alarms": [*figures["alarms"], *doubts],
        "left_out": [*left_out, *figures["left_out"]],
    }
    return EvaluationResult(summary=summary, examples=shown, predictions=lines)


def _best_of_day(found: Scored, day_I: NDArray[Any]) -> Best:
    def best(at: int) -> list[tuple[int, float]]:
        assert found.user_ID is not None, "labelled impressions have user vectors"
        return best_of_day(found.user_ID[at], found.vectors, found.labelled, day_I, at, count=RECOMMENDED)

    return best


def _of_another(saved: Checkpoint, prepared: Prepared) -> list[str]:
    """Sentences for a checkpoint that was trained on the batches of another packed directory."""
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
