"""A packed directory -> a trained recommender: checkpoints and metrics.jsonl. No Spark is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from jobs.config import run
from jobs.terminal.progress import console, stage
from jobs.terminal.stopping import stop_requests
from jobs.terminal.training import tell_config, tell_stopped, training_bar
from pipelines.locks import locked
from schemas.errors import InputError
from trainer.config import TrainConfig
from trainer.loop.keeping import Keeping, outline
from trainer.loop.prepare import DeviceName, Prepared, device_of, prepare, short_superblocks
from trainer.loop.trainer import Trainer


def train(
    *,
    data: Path,
    out: Path,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    resume: Literal["no", "auto"] = "no",
    dry_run: bool = False,
    store: Path | None = None,
    device: DeviceName = "auto",
) -> dict[str, Any]:
    """Train a recommender from a packed directory.

    Parameters
    ----------
    data
        The packed directory that `pack` wrote.
    out
        Folder for metrics.jsonl, config.json and the checkpoints; without --resume it must not hold a run yet.
    config
        The run, in parts: run, encoder, user, planner, optimiser.
    resume
        auto: go on from the newest checkpoint in --out, or begin where there is none.
    dry_run
        Check everything and tell what would be done; nothing is trained or written but the frozen layers' output.
    store
        Folder that keeps the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    begun = (out / "config.json").exists()
    if begun and resume == "no":
        raise InputError(f"{out}: holds a training run already. Add --resume auto, name another --out, or remove it")
    tell_config(config)
    with stage("frozen layers, once per news") as bar:
        prepared = prepare(config, data, store=store, device=device_of(device), told=bar.more)
    if hint := short_superblocks(prepared):
        console.print(f"  {hint}", style="yellow")
    if dry_run:
        return outline(Trainer(prepared))
    out.mkdir(parents=True, exist_ok=True)
    with locked(str(out), "train", what="run"):
        return _trained(prepared, out)


def _trained(prepared: Prepared, out: Path) -> dict[str, Any]:
    trainer = Trainer(prepared)
    with stop_requests() as asked, training_bar() as told:
        keeping = Keeping(trainer, out, asked_to_stop=asked, told=told)
        gone_on_from = keeping.go_on()
        (out / "config.json").write_text(json.dumps(prepared.config.to_dict(), indent=1) + "\n")
        keeping.fit()
    if keeping.stopped:
        tell_stopped(trainer.step, trainer.total_steps)
    return {**keeping.summary(), "gone_on_from": gone_on_from}


if __name__ == "__main__":
    raise SystemExit(run(train))
