"""TrainConfig: the parts' own dataclasses under one roof, to and from plain dictionaries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.errors import InputError
from trainer.encode.policies import PlannerConfig
from trainer.loop.optimiser import OptimiserConfig
from trainer.loop.run import RunConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run, but for data, output and device."""

    run: RunConfig = field(default_factory=RunConfig)
    encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    user: UserEncoderConfig = field(default_factory=UserEncoderConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, as a checkpoint's JSON keeps them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> TrainConfig:
        """The inverse of to_dict; InputError if `raw` is not what this version writes."""
        try:
            return cls._from(raw)
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no config of this version ({error!r}): train again") from error

    @classmethod
    def _from(cls, raw: dict[str, Any]) -> TrainConfig:
        planner = {**raw["planner"], "chunk_sizes": tuple(raw["planner"]["chunk_sizes"])}
        return cls(
            run=RunConfig(**raw["run"]),
            encoder=TextEncoderConfig(**raw["encoder"]),
            user=UserEncoderConfig(**raw["user"]),
            planner=PlannerConfig(**planner),
            optimiser=OptimiserConfig(**raw["optimiser"]),
        )
