"""A packed directory -> a trained recommender: checkpoints and metrics.jsonl. No Spark is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jobs.cli import training as terminal
from jobs.cli.command_line import run
from jobs.cli.watch import check_trackers, watched
from schemas.storage.place import Place
from trainer.checkpoint.working_folder import Working, working_folder
from trainer.config import TrainConfig
from trainer.data.directory import ReadConfig
from trainer.loop.session import TrainingSession, outline
from trainer.loop.trainer import Trainer
from trainer.ranks.process_group import process_group
from trainer.setup.automatic import DeviceName, device_of, resolve_for_device


def train(
    *,
    data: Place,
    out: Place,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    resume: Literal["no", "auto"] = "no",
    init_from: Place | None = None,
    dry_run: bool = False,
    store: Path | None = None,
    device: DeviceName = "auto",
    read: ReadConfig = ReadConfig(),  # noqa: B008 - frozen
) -> dict[str, Any] | None:
    """Train a recommender from a packed directory.

    Parameters
    ----------
    data
        The packed directory that `pack` wrote.
    out
        Folder for metrics.jsonl, config.json and checkpoints; without --resume it must not hold a run yet.
    config
        The run, in parts: run, encoder, user, planner, optimiser.
    resume
        auto: resume from the newest checkpoint in --out, or begin if there is none.
    init_from
        Continue an earlier run's checkpoint: its weights, moments, steps and valid vectors, with a new rate schedule.
    dry_run
        Check everything and report what would be done; trains nothing and writes only the frozen layers' output.
    store
        Folder of this machine, mapped into memory, with the frozen layers' output; by default `<data>.frozen`.
    device
        Where to train.
    """
    with process_group() as ranks, working_folder(out, ranks, resume=resume == "auto") as at:
        check_trackers(config.run)
        terminal.quiet_unless_leader(ranks)
        config = resolve_for_device(config, device_of(device), ranks, begun=at.begun)
        prepared = terminal.prepare_with_progress(config, read.packed(data), ranks, store=store, device=device)
        trainer = Trainer(prepared, ranks, terminal.load_initial_weights(prepared, init_from, at.begun))
        summary = outline(trainer) if dry_run else _trained(trainer, at)
        terminal.write_report(at, data, trainer, dry_run=dry_run)
    return at.with_place(summary) if ranks.leads else None


def _trained(trainer: Trainer, at: Working) -> dict[str, Any]:
    with terminal.run_folder(at.folder, trainer), watched(trainer, at.folder) as watch:
        on: dict[str, Any] = dict(on_line=watch.line, on_evaluation=watch.evaluated, asked_to_stop=watch.asked_to_stop)
        session = TrainingSession(trainer, at.folder, follower=at.follower, **on)
        resumed_from = terminal.resume_run(session, trainer, at)
        terminal.write_config(at, trainer)
        watch.begin()
        session.fit()
        if session.stopped:
            watch.stopped()
        return {**session.summary(), "gone_on_from": resumed_from}


if __name__ == "__main__":
    raise SystemExit(run(train))
