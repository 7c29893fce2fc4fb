"""Train a recommender from a packed directory: packed batches -> checkpoint and metrics.jsonl. No Spark is needed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.progress import stage
from schemas.errors import InputError
from trainer.config import TrainConfig
from trainer.loop.checkpoint import save_checkpoint
from trainer.loop.logs import RunLog
from trainer.loop.prepare import DeviceName, device_of, prepare
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
    with stage("frozen layers, once per news") as tell:
        rows_done = 0

        def told(done: int, rows: int) -> None:
            nonlocal rows_done
            rows_done += done
            tell(rows_done, rows, f"{rows_done}/{rows} news")

        prepared = prepare(config, data, store=store, device=device_of(device), told=told)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=1) + "\n")
    trainer = Trainer(prepared)
    with stage("training") as tell:

        def logged(line: dict[str, Any]) -> None:
            words = f"loss {line['loss']:.3f}  {line['clicks_per_second']:.0f} clicks/s"
            tell(line["step"], line["steps"], words)

        log = RunLog(
            path=out / "metrics.jsonl", every=config.run.log_every_steps, total_steps=trainer.total_steps, told=logged
        )
        totals = trainer.fit(log)
    save_checkpoint(trainer.checkpoint(), out / "checkpoint")
    return {
        "checkpoint": str(out / "checkpoint"),
        "epochs": config.run.epochs,
        "loss": log.last_loss,
        "clicks_per_second": totals.clicks_per_second,
        **asdict(totals),
    }


if __name__ == "__main__":
    raise SystemExit(run(train))
