"""Contracts: what the page takes from a run's JSON files, in types and bounds. Other names in them are let through:
a file is shown to people, and an older page shows a newer run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from schemas.strict_json import Count, Finite, Positive, ShortText, between

Figure = Finite | None  # None: nothing to divide by
Share = Annotated[float, between(0, 1)] | None
Seconds = Annotated[float, between(0, 1e12)]
Speed = Annotated[float, between(1e-9, 1e15)]
Options = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Of the options, the part `run`."""

    epochs: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """config.json: options by part."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """about.json."""

    ended_at: ShortText
    data: ShortText | None = None
    device: ShortText | None = None
    commit: ShortText | None = None
    defaults: Options = field(default_factory=dict)
    stages: dict[str, Seconds] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of metrics.jsonl; every other value in it is a number, a list of counts or nothing."""

    step: Positive
    steps: Positive
    epoch: Count
    loss: Figure
    targets: Count = 0
    asked: Count = 0
    encoded: Count = 0
    looked_up: Count = 0
    looked_up_by_age: list[Count] = field(default_factory=list)
    seconds: Seconds = 0.0
    data_wait_seconds: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.step > self.steps:
            raise ValueError(f"step {self.step} of {self.steps}")


Figures = dict[str, Finite | list[Count] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Figures of one method, with the ends of their intervals."""

    auc: Share = None
    mrr: Share = None
    ndcg5: Share = None
    ndcg10: Share = None
    low: dict[str, Share] | None = None
    high: dict[str, Share] | None = None
    impressions: Count | None = None
    skipped: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The model less another method."""

    mean: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Part of the impressions."""

    slice: str | float
    impressions: Count
    auc: Share = None
    mrr: Share = None
    ndcg10: Share = None
    auc_low: Share = None
    auc_high: Share = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Recall at k."""

    at: dict[str, Share]
    pool: float | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Days of the impressions."""

    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """evaluation.json."""

    methods: dict[str, Method]
    impressions: Count | None = None
    skipped: Count | None = None
    data: ShortText | None = None
    split: Split | None = None
    paired: dict[str, dict[str, Difference]] | None = None
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    recall: Recall | None = None
    alarms: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """As a person knows it."""

    id: str
    title: str | None
    category: str | None
    score: Finite = 0.0
    rank: Count = 0
    clicked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of examples.json."""

    user_id: str
    impression_id: str
    time: str
    history: list[News]
    candidates: list[News]
    auc: Share
    recommended: list[News] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """The books of ingest."""

    lines: Count
    impressions: Count
    merged: Count
    rejected: Count
    rejected_by_reason: dict[str, Count] = field(default_factory=dict)
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsCounts:
    """What the news held."""

    items: Count
    folded_items: Count = 0
    tokens: Count | None = None
    full_tokens: Count | None = None
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectories:
    """What was built."""

    users: Count | None = None
    evaluate_from: str | None = None
    outputs: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """What was packed; where the directory is there, its manifest tells it instead."""

    trajectories: Positive | None = None
    clicks: Count | None = None
    targets: Positive | None = None
    out: ShortText | None = None
    variants: Positive = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the run did in all."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A policy's speed; a feedloop that timed policies in turns also wrote how it compares with the first one."""

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
            raise ValueError("speed_up_by without the rounds, the speeds or the ends of what it compares")


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
