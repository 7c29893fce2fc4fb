"""TrainConfig: combines the parts' own dataclasses; converts to and from plain dictionaries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from schemas.errors import InputError
from schemas.strict_json import converted
from trainer.encode.policies import PlannerConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig
from trainer.optimise.optimiser import OptimiserConfig
from trainer.run_config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run, except data, output and device."""

    run: RunConfig = field(default_factory=RunConfig)
    encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    user: UserEncoderConfig = field(default_factory=UserEncoderConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, as a checkpoint's JSON keeps them."""
        return asdict(self)

    def flat(self) -> dict[str, Any]:
        """The same by full names, such as run.seed."""
        parts = self.to_dict().items()
        return {f"{part}.{name}": value for part, options in parts for name, value in options.items()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TrainConfig:
        """The inverse of to_dict; InputError names the fault if `raw` is not what this version writes."""
        advice = "Train again"
        if isinstance(raw.get("run"), dict):  # an older feedloop read one stream
            raw = {**raw, "run": {"streams": 1, **raw["run"]}}
        absent = [part.name for part in fields(cls) if part.name not in raw]
        if absent:
            raise InputError(f"this is no config of this version, at $: no {', '.join(absent)}. {advice}")
        return converted(raw, cls, "this is no config of this version", advice=advice, error=InputError)


# Options that may differ when a run is resumed: they change what is logged and saved, not what is computed.
_WITHOUT_EFFECT = {
    f"run.{name}"
    for name in (
        "log_every_steps",
        "save_every_steps",
        "keep_checkpoints",
        "reader",
        "auto_chunk",
        "kept_chunks",
        "history_clicks",
        "tensorboard",
        "mlflow",
        "profile_steps",
    )
}


# Options that affect the result and may still change on resuming: they extend the run, or a message advises them.
_MAY_CHANGE = {
    "run.epochs",
    "run.early_stop_epochs",
    "run.validate",
    "run.drift_every_steps",
    "planner.chunk_sizes",
    "optimiser.encoder_learning_rate",
    "optimiser.learning_rate",
    "optimiser.pooling_learning_rate",
}


def split_changes(before: TrainConfig, now: TrainConfig) -> tuple[list[str], list[str]]:
    """(the changed options that a run may resume with, those that would make it another run), as changed_options."""
    accepted: list[str] = []
    refused: list[str] = []
    for change in changed_options(before, now):
        (accepted if change.partition(" ")[0] in _MAY_CHANGE else refused).append(change)
    if now.run.epochs < before.run.epochs:
        shorter = f"run.epochs was {before.run.epochs} and is {now.run.epochs}"
        accepted.remove(shorter)
        refused.append(f"{shorter}, and a run can only be made longer")
    return accepted, refused


def changed_options(before: TrainConfig, now: TrainConfig) -> list[str]:
    """The changed options that affect what is computed, as 'run.seed was 1 and is 2'."""
    old, new = before.flat(), now.flat()
    return [
        f"{name} was {old[name]} and is {new[name]}"
        for name in new
        if name not in _WITHOUT_EFFECT and old[name] != new[name]
    ]
