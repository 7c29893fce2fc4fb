"""A checkpoint -> AUC, MRR, nDCG with intervals on unseen impressions, with baselines; or its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.cli.command_line import run
from jobs.cli.evaluation import figures_file, write_and_show, write_predictions
from jobs.cli.progress import stage
from jobs.cli.training import quiet_unless_leader
from schemas.storage.place import Place
from trainer.checkpoint.files import load_checkpoint
from trainer.checkpoint.resolve import found_checkpoint
from trainer.data.directory import ReadConfig
from trainer.eval.baselines import EvaluationInputs
from trainer.eval.catalogue import Catalogue
from trainer.eval.evaluate import evaluate_scores, score_checkpoint
from trainer.eval.impressions import read_truth
from trainer.ranks.process_group import process_group
from trainer.setup.automatic import EncodeConfig, device_of
from trainer.setup.prepare import prepare_again


def evaluate(
    *,
    checkpoint: Place,
    data: Place,
    lake: Place | None = None,
    truth: Place | None = None,
    predictions: Place | None = None,
    out: Place | None = None,
    store: Path | None = None,
    encode: EncodeConfig = EncodeConfig(),  # noqa: B008 - frozen
    read: ReadConfig = ReadConfig(),  # noqa: B008 - frozen
) -> dict[str, Any] | None:
    """AUC, MRR, nDCG@5 and nDCG@10 per impression with 95% intervals: the model, its baselines, slices, recall@k.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote; of a run's folder of checkpoints the best, or else the newest.
    data
        The packed directory whose evaluation impressions are scored.
    lake
        The lake that it was packed from: category match becomes a baseline, and examples.json has titles.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    predictions
        File for the model's order of the impressions without click marks; MIND's and EB-NeRD's archives go next to it.
    out
        File for all figures; by default evaluation.json in the folder of the run, if the checkpoint is in one.
    store
        Folder of this machine that keeps the frozen layers' output; by default `<data>.frozen`.
    """
    with found_checkpoint(checkpoint) as named, process_group() as ranks, stage("evaluation"):
        quiet_unless_leader(ranks)
        saved, file, where = load_checkpoint(named.path.resolve()), out or figures_file(named), device_of(encode.device)
        prepared = prepare_again(
            saved, read.packed(data), store=store, device=where, precision=encode.precision, ranks=ranks
        )
        catalogue = Catalogue.read(lake, prepared.directory.manifest) if lake else None
        inputs = EvaluationInputs(catalogue, read_truth(truth) if truth else None)
        found = score_checkpoint(prepared, saved, ranks, predict=predictions is not None)
        if not ranks.leads:
            return None
        result = evaluate_scores(prepared, saved, found, inputs)
    if predictions is not None and result.predictions is not None:
        write_predictions(predictions, result.predictions)
    summary = {"checkpoint": named.absolute_name, "data": str(data.resolve()), **result.summary}
    write_and_show(file, summary, result.examples)
    return summary


if __name__ == "__main__":
    raise SystemExit(run(evaluate))
