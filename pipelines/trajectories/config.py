"""The options that, with the data, decide the trajectories."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pipelines.lake.versions import moment_of
from schemas.errors import InputError

Negatives = Literal["auto", "shown", "drawn"]

_LONGEST_WINDOW = 100
_MOST_DRAWN = 1000
_MOST_VARIANTS = 100
_CAPS = ("max_windows_per_user", "max_evaluated_per_user", "bot_views_per_day", "bot_clicks_per_day")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryConfig:
    """The options that, with the data, decide the trajectories.

    Only clicks of impressions with `from` <= time < `to` are targets. Earlier clicks are context only, and so are
    histories logged before `from`. Later clicks are ignored, for negatives too. A user's windows are cut from the last
    click before `to`, and windows without a target are dropped. Consecutive periods together have the targets of one
    run over all of them.
    """

    source: str = "publisher"  # publisher of the impressions
    from_: str | None = None  # UTC date or time of the first target; earlier clicks are context only
    to: str | None = None  # UTC date or time from which clicks are ignored; by default, the evaluation's start
    evaluate_from: str | None = None  # its first UTC date or time; default: the date after `to`, or the last labelled
    evaluate_share: float | None = None  # latest share of labelled impressions to evaluate; 0.2 if all are of one date
    evaluate_sample: float = 1.0  # share of the evaluation's labelled impressions to keep, drawn by their ids
    max_evaluated_per_user: int | None = None  # labelled impressions of a user in the evaluation, at most; drawn too
    unlabelled: bool = False  # also keep its impressions without click marks, to predict their clicks
    window: int = 50  # clicks of a trajectory, at most
    max_windows_per_user: int | None = None  # trajectories of a user, at most; the latest windows are kept
    candidates: int = 5  # K: the clicked news and at most K - 1 others
    negatives: Negatives = "auto"  # shown with a click, drawn from its day's clicks, or auto: drawn if none is shown
    drawn_candidates: int = 50  # with drawn negatives: news drawn for each evaluated impression
    targets: Literal["logged", "all"] = "logged"  # clicks inside impressions, or those of histories too
    history_weight: float = 1.0  # weight of a history click in the loss, with targets = all
    variants: int = 1  # independent draws of the negatives, for different epochs; pack has an option for their number
    bot_views_per_day: int | None = None  # drop users with more views on any UTC date from both tables
    bot_clicks_per_day: int | None = None  # drop users with more clicks on any UTC date from both tables
    seed: int = 1  # of the choice of unclicked news as candidates

    def __post_init__(self) -> None:
        if not 1 <= self.window <= _LONGEST_WINDOW:
            raise InputError(f"window is {self.window}: use 1 to {_LONGEST_WINDOW} clicks")
        if self.candidates < 2:
            raise InputError(f"candidates is {self.candidates}: use 2 or more, the clicked news counts as one")
        if not 1 <= self.variants <= _MOST_VARIANTS:
            raise InputError(f"variants is {self.variants}: use 1 to {_MOST_VARIANTS}")
        if self.negatives not in ("auto", "shown", "drawn"):
            raise InputError(f"negatives is {self.negatives!r}: use auto, shown or drawn")
        if not 1 <= self.drawn_candidates <= _MOST_DRAWN:
            raise InputError(f"drawn_candidates is {self.drawn_candidates}: use 1 to {_MOST_DRAWN} news")
        if self.targets not in ("logged", "all"):
            raise InputError(f"targets is {self.targets!r}: use logged or all")
        if not 0 < self.history_weight < math.inf:
            raise InputError(f"history_weight is {self.history_weight}: use more than 0, or targets = logged")
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}: use an integer of 64 bits")
        self._check_samples()
        self._check_split()

    def _check_samples(self) -> None:
        if not 0 < self.evaluate_sample <= 1:
            raise InputError(f"evaluate_sample is {self.evaluate_sample}: use more than 0 and at most 1")
        for name in _CAPS:
            most = getattr(self, name)
            if most is not None and most < 1:
                raise InputError(f"{name} is {most}: use 1 or more, or leave it out")

    def _check_split(self) -> None:
        if self.evaluate_share is not None:
            if not 0 < self.evaluate_share < 1:
                raise InputError(f"evaluate_share is {self.evaluate_share}: use more than 0 and less than 1")
            others = [name for name in ("evaluate_from", "to") if getattr(self, name) is not None]
            if others:
                raise InputError(f"evaluate_share and {others[0]} both set the start of the evaluation: give one")
        begin, end = self.begin, self.end
        if begin and end and begin >= end:
            raise InputError(f"from is {self.from_} and to is {self.to}: the period is empty. Set a later to")

    @property
    def samples(self) -> dict[str, float | int]:
        """The options that drop data, by name, as far as they are set."""
        caps = {name: getattr(self, name) for name in _CAPS}
        share = {"evaluate_sample": self.evaluate_sample} if self.evaluate_sample < 1 else {}
        return share | {name: most for name, most in caps.items() if most is not None}

    @property
    def noted(self) -> dict[str, Any]:
        """All options by name, except sampling options that are off, so that tables older than these stay valid."""
        options = asdict(self)
        return {name: options[name] for name in options if name not in (*_CAPS, "evaluate_sample")} | self.samples

    @property
    def begin(self) -> datetime | None:
        """`from` as a moment."""
        return _moment("from", self.from_)

    @property
    def end(self) -> datetime | None:
        """`to` as a moment."""
        return _moment("to", self.to)


def _moment(name: str, text: str | None) -> datetime | None:
    moment = None if text is None else moment_of(text)
    if text is not None and moment is None:
        raise InputError(f"{name} is {text!r}: write a UTC date or time such as 2026-03-02 or 2026-03-02T09:00:00")
    return moment
