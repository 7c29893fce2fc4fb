"""A packed directory -> a trained recommender: checkpoint and metrics.jsonl. No Spark is needed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.terminal.progress import console, stage
from schemas.errors import InputError
from trainer.config import TrainConfig
from trainer.loop.checkpoint import save_checkpoint
from trainer.loop.logs import RunLog
from trainer.loop.prepare import DeviceName, device_of, prepare, short_superblocks
from trainer.loop.trainer import Trainer


def train(
    *,
    data: Path,
    out: Path,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    store: Path | None = None,
    device: DeviceName = "auto",
) -> dict[str, Any]:
    """Train a recommender from a packed directory.

    Parameters
    ----------
    data
        The packed directory that `pack` wrote.
    out
        Folder for metrics.jsonl, config.json and the checkpoint; must not hold a run yet.
    config
        The run, in parts: run, encoder, user, planner, optimiser.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    if (out / "config.json").exists():
        raise InputError(f"{out}: holds a training run already. Name another --out, or remove it")
    with stage("frozen layers, once per news") as bar:
        prepared = prepare(config, data, store=store, device=device_of(device), told=bar.more)
    if hint := short_superblocks(prepared):
        console.print(f"  {hint}", style="yellow")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    trainer = Trainer(prepared)
    log = _fit(trainer, out / "metrics.jsonl")
    save_checkpoint(trainer.checkpoint(), out / "checkpoint")
    return {
        "checkpoint": str(out / "checkpoint"),
        "epochs": config.run.epochs,
        "loss": log.last_loss,
        "clicks_per_second": log.totals.clicks_per_second,
        **asdict(log.totals),
        **({f"drift_{key}": value for key, value in asdict(log.drifts[-1]).items()} if log.drifts else {}),
    }


def _fit(trainer: Trainer, path: Path) -> RunLog:
    with stage("training") as bar:

        def told(line: dict[str, Any]) -> None:
            bar.at(line["step"], line["steps"], f"loss {line['loss']:.3f}  {line['clicks_per_second']:.0f} clicks/s")

        every = trainer.config.run.log_every_steps
        log = RunLog(path=path, every=every, total_steps=trainer.total_steps, told=told)
        trainer.fit(log)
        return log


if __name__ == "__main__":
    raise SystemExit(run(train))
