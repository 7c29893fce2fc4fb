"""Types and bounds of the values that the page reads from a demo's summary.json. Other names are ignored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jobs.page.contracts import Seconds, Speed
from schemas.strict_json import Count, Finite, Positive, ShortText, between


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The counts of ingest."""

    lines: Count
    impressions: Count
    merged: Count
    rejected: Count
    rejected_by_reason: dict[str, Count] = field(default_factory=dict)
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsCounts:
    """The counts of prepare_news."""

    items: Count
    folded_items: Count = 0
    tokens: Count | None = None
    full_tokens: Count | None = None
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectories:
    """Users and evaluation split of the trajectories."""

    users: Count | None = None
    evaluate_from: str | None = None
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Counts of the packed directory; if that exists, its manifest is used instead."""

    trajectories: Positive | None = None
    clicks: Count | None = None
    targets: Positive | None = None
    out: ShortText | None = None
    variants: Positive = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Totals of the run."""

    checkpoint: ShortText
    steps: Count
    targets: Count
    asked: Count
    encoded: Count
    looked_up: Count
    seconds: Seconds
    data_wait_seconds: Seconds
    clicks_per_second: Annotated[float, between(0, 1e15)]
    epochs: Annotated[float, between(0, 1e9)] = 0
    complete: bool = True
    evaluating_seconds: Seconds = 0.0
    saving_seconds: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A policy's speed; since policies are timed alternately, also its speed-up over the first one."""

    clicks_per_second: Speed
    encoded: Count
    targets: Count
    clicks_per_processor_second: Speed | None = None
    rounds: Count | None = None
    speed_up_by: Literal["processor", "wall"] | None = None
    speed_up: Speed | None = None
    speed_up_low: Speed | None = None
    speed_up_high: Speed | None = None

    def __post_init__(self) -> None:
        compared = (self.clicks_per_processor_second, self.rounds, self.speed_up_low, self.speed_up_high)
        if self.speed_up_by is not None and None in compared:
            raise ValueError("speed_up_by without the number of rounds, the speeds or the bounds of the speed-up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """summary.json: the demo's facts. `quality` is an Evaluation, or its methods alone."""

    data: str | None = None
    ingest: Ingest | None = None
    news: NewsCounts | None = None
    trajectories: Trajectories | None = None
    pack: Pack | None = None
    batches: dict[str, Finite | None] | None = None
    training: Training | None = None
    quality: dict[str, Any] | None = None
    speed: dict[str, Timed] | None = None
    stages: dict[str, Seconds] | None = None
