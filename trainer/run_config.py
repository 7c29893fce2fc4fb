"""RunConfig: the length of a training run, its step sizes, and what it logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from trainer.data.validation import rule_of

_MOST = {  # beyond these a run could not start: its schedule is counted epoch by epoch, its steps are held in memory
    "epochs": 10_000,
    "batches_per_step": 1 << 20,
    "samples_per_step": 1 << 20,
    "streams": 1 << 10,
    "plan_ahead": 1 << 10,
    "history_clicks": 1 << 16,
    "seed": 2**63 - 1,
    "log_every_steps": 2**31,
    "drift_every_steps": 2**31,
    "save_every_steps": 2**31,
    "keep_checkpoints": 2**31,
    "early_stop_epochs": 2**31,
    "profile_steps": 1 << 20,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Length, step sizes and logging of a training run."""

    epochs: int = 1
    """Passes over the packed batches."""
    batches_per_step: int = 1
    """G: packed batches in one optimisation step, over all ranks."""
    streams: int = 0
    """K: parts of an epoch that are read at the same time; each step takes its batches from all of them in turn. Of
    several processes each reads its own parts, so use a multiple of their number. 0: one for each process, at most
    batches_per_step; one in all with share_encoding. A resumed run keeps its number, with any number of processes."""
    samples_per_step: int = 64
    """naive_per_target only: targets in one optimisation step."""
    seed: int = 1
    """Decides the order of superblocks, random draws and dropout."""
    reader: Literal["petastorm", "arrow"] = "petastorm"
    """Both give the same batches in the same order."""
    precision: Literal["auto", "native", "float32", "bfloat16"] = "auto"
    """Of the encoder while training: bfloat16 is a copy of its weights, and its gradients are added to float32 ones.
    Master weights, moments, vectors and the head are float32. auto: bfloat16 on a GPU that multiplies it, float32 on a
    CPU; native: bfloat16 also on a processor that multiplies it; a resumed run keeps what it started with."""
    compile: bool = False
    """torch.compile the encoder; chunks then have at most 8 shapes, each of which is compiled once."""
    plan_ahead: int = 4
    """Steps that the loader thread may be ahead."""
    log_every_steps: int = 10
    """Steps between two lines of metrics.jsonl."""
    drift_every_steps: int = 50
    """Steps between two measurements of how far looked-up vectors are from fresh ones. 0 = never."""
    kept_chunks: int | None = None
    """Chunks that keep their graph; the others are replayed, which bounds memory. None = all."""
    save_every_steps: int = 500
    """Steps between two checkpoints, which are also written at the end of each epoch. 0 = only there."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep, in addition to the best."""
    early_stop_epochs: int = 0
    """Epochs without a better AUC on the validation impressions that end training. 0 = never; epochs are not
    evaluated."""
    validate: str = "user:0.2"
    """Which labelled evaluation impressions are for validation, if epochs are evaluated: user:SHARE, all of some
    users, or time:SHARE, the earliest. `evaluate` reports the others."""
    auto_chunk: bool = False
    """If memory does not suffice, keep fewer chunks' graphs and take the step again, with the same result."""
    history_clicks: int = 50
    """Evaluation: number of latest clicks of a history that the model sees."""
    tensorboard: bool = True
    """Also write the lines of metrics.jsonl as curves for TensorBoard, below OUT/tensorboard: a millisecond a line."""
    mlflow: str = ""
    """Also log the run to the MLflow store of this tracking URI, such as sqlite:///runs/mlflow.db. Empty = none."""
    profile_steps: int = 0
    """Steps, after the first few, whose operators are timed, for a table and a trace below OUT/profile. 0 = none."""

    def __post_init__(self) -> None:
        for name in ("drift_every_steps", "save_every_steps", "early_stop_epochs", "seed", "profile_steps", "streams"):
            if getattr(self, name) < 0:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use 0 or more")
        for name in (
            "epochs",
            "batches_per_step",
            "samples_per_step",
            "plan_ahead",
            "log_every_steps",
            "keep_checkpoints",
            "history_clicks",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use 1 or more")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ValueError(f"run.{name} is {getattr(self, name)}: use {most} at most")
        if self.streams > self.batches_per_step:
            raise ValueError(
                f"run.streams is {self.streams} and run.batches_per_step {self.batches_per_step}: a step takes a batch "
                "of each stream, so use at most as many streams"
            )
        if not 0 <= (self.kept_chunks or 0) < 2**31:
            raise ValueError(f"run.kept_chunks is {self.kept_chunks}: use 0 or more, or leave it out to keep all")
        rule_of(self.validate)
        if urlsplit(self.mlflow).password:
            raise ValueError(
                "run.mlflow holds a password, and options are printed and kept in config.json: leave it out"
            )
