"""State: the types and bounds of a checkpoint's state.json; further keys belong to those who watch a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from schemas.strict_json import Count, Finite, Sha256, ShortText, between

_Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    step: Count
    epoch: Count = 0
    epoch_step: Count = 0
    first_step: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    manifest_sha256: Sha256
    tokenizer_sha256: Sha256
    tokenizer_content: ShortText = ""
    inputs: dict[str, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Optimiser:
    taken: Count
    waiting_count: Finite
    groups: dict[str, list[_Plain]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    step: Count
    auc: Annotated[float, between(0, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drift:
    looked_up: Finite
    encoded: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    totals: _Plain
    since: _Plain
    losses: list[Finite]
    counts: Finite
    last_loss: Finite | None
    drift: _Drift | None
    norms: dict[str, list[Finite]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SessionState:
    log: _Log
    best: _Best | None
    epochs_since_best: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Types of the known keys, as far as they are there; each reader checks that the keys that it needs exist."""

    format_version: int
    parts: tuple[ShortText, ...]
    sha256: dict[str, Sha256] = field(default_factory=dict)
    state_sha256: Sha256 | None = None
    ranks: Annotated[int, between(1, 2**16)] = 1
    config: _Plain = field(default_factory=dict)
    position: _Position | None = None
    data: _Data | None = None
    frozen_sha256: Sha256 | None = None
    shortened: tuple[tuple[Count, Count], ...] = ()
    optimiser: _Optimiser | None = None
    keeping: _SessionState | None = None

    def __post_init__(self) -> None:
        if len(set(self.parts)) < len(self.parts):
            raise ValueError("a part is listed twice")
