"""Types and bounds of the values that the page reads from a run's JSON files. Other names are ignored, so that an older
feedloop can show a newer run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from schemas.strict_json import Count, Finite, Positive, ShortText, between

Figure = Finite | None  # None: undefined, such as a mean of nothing
Share = Annotated[float, between(0, 1)] | None
Seconds = Annotated[float, between(0, 1e12)]
Speed = Annotated[float, between(1e-9, 1e15)]
Options = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The part `run` of the options."""

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
    """A line of metrics.jsonl; every other value is a number, a list of counts or null."""

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
    evaluating_seconds: Seconds = 0.0
    saving_seconds: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.step > self.steps:
            raise ValueError(f"step {self.step} of {self.steps}")


Figures = dict[str, Finite | list[Count] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Figures of one method, with the bounds of their intervals."""

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
    """The model's figure minus that of another method."""

    mean: Figure
    low: Figure
    high: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Figures of a subset of the impressions."""

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
    """A news as the page shows it."""

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
