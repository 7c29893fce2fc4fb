"""A checkpoint -> AUC, MRR, nDCG with intervals on impressions it never saw, beside baselines; or its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.terminal.progress import stage
from jobs.terminal.training import one_speaks
from jobs.terminal.verdict import figures_file, write_and_show, write_predictions
from schemas.storage.place import Place
from trainer.data.cache import CacheConfig
from trainer.data.directory import Packed
from trainer.eval.baselines import Beside
from trainer.eval.catalogue import Catalogue
from trainer.eval.impressions import read_truth
from trainer.loop.checkpoint import load_checkpoint
from trainer.loop.distributed import joined, leader_first
from trainer.loop.judging import judgement, scored
from trainer.loop.prepare import DeviceName, device_of, prepare_again
from trainer.loop.retention import chosen


def evaluate(
    *,
    checkpoint: Path,
    data: Place,
    lake: Path | None = None,
    truth: Path | None = None,
    predictions: Path | None = None,
    out: Path | None = None,
    store: Path | None = None,
    device: DeviceName = "auto",
    cache: CacheConfig = CacheConfig(),  # noqa: B008 - frozen
) -> dict[str, Any] | None:
    """AUC, MRR, nDCG@5 and nDCG@10 per impression with 95% intervals: the model, its baselines, slices, recall@k.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote; of a run's folder of them the best, or else the newest.
    data
        The packed directory whose evaluation impressions are scored.
    lake
        The lake that it was packed from: category match becomes a baseline, and examples.json tells titles.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    predictions
        File for the model's order of the impressions without click marks; MIND's and EB-NeRD's archives beside it.
    out
        File for all figures; by default evaluation.json in the folder of the run, if the checkpoint stands in one.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to encode.
    """
    saved = load_checkpoint(path := chosen(checkpoint).resolve())
    file = out or figures_file(path)
    with joined() as ranks, stage("evaluation"):
        one_speaks(ranks)
        with leader_first(ranks):
            prepared = prepare_again(saved, Packed.of(data, cache), store=store, device=device_of(device))
        catalogue = None if lake is None else Catalogue.read(lake, prepared.directory.manifest)
        beside = Beside(catalogue, None if truth is None else read_truth(truth))
        found = scored(prepared, saved, ranks, predict=predictions is not None)
        if not ranks.leads:
            return None
        told = judgement(prepared, saved, found, beside)
    if predictions is not None and told.predictions is not None:
        write_predictions(predictions, told.predictions)
    summary = {"checkpoint": str(path), "data": str(data.resolve()), **told.summary}
    write_and_show(file, summary, told.examples)
    return summary


if __name__ == "__main__":
    raise SystemExit(run(evaluate))
