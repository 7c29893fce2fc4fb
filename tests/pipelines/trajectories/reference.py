"""A slow, obvious reference of the stage in plain Python, one click at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import xxhash
from pyspark.sql import Row

from schemas.trajectory import TRAJECTORIES
from tests.pipelines.trajectories.views import SPLIT, Items, View


@dataclass(frozen=True)
class Click:
    """One click of a user's sequence, with the candidates that the log gives it."""

    row: int
    seen: int
    candidates: tuple[int, ...]
    logged: bool
    time: datetime


def sequences(views: Sequence[View], items: Items, *, candidates: int, seed: int) -> dict[str, list[Click]]:
    """Each user's clicks before the split."""
    found = {}
    before = [view for view in views if view.trains]
    for user in sorted({view.user_id for view in before}):
        own = sorted((v for v in before if v.user_id == user), key=lambda v: (v.time, v.impression_id))
        past = [items.rows[news] for news in own[0].history.split() if news in items.rows]
        clicks = [Click(row, seen, (), logged=False, time=own[0].time) for seen, row in enumerate(past)]
        before_second: dict[datetime, int] = {}
        for view in own:
            seen = before_second.setdefault(view.time.replace(microsecond=0), len(clicks))
            known = [(items.rows[news], clicked) for news, clicked in view.news if news in items.rows]
            clicked_rows = [row for row, clicked in known if clicked]
            others = {row for row, _ in known} - set(clicked_rows)
            for target in clicked_rows:
                hashed = sorted((draw(seed, len(clicks), row), row) for row in others)
                drawn = [row for _, row in hashed[: candidates - 1]]
                clicks.append(Click(target, seen, (target, *drawn) if drawn else (), logged=True, time=view.time))
        found[user] = clicks
    return found


def draw(seed: int, position: int, row: int) -> int:
    """The upper half of Spark's xxhash64 of (long, int, int), by another library."""
    state = 42
    for value, size in ((seed, 8), (position, 4), (row, 4)):
        state = xxhash.xxh64_intdigest(value.to_bytes(size, "little", signed=True), seed=state)
    return (state - 2**64 if state >= 2**63 else state) >> 32


def expected(views: Sequence[View], items: Items, *, window: int, candidates: int, seed: int) -> list[tuple[Any, ...]]:
    """TRAJECTORIES without the source, with targets = logged."""
    found = []
    for user, clicks in sequences(views, items, candidates=candidates, seed=seed).items():
        for number in range(-(-len(clicks) // window)):
            begin = max(0, len(clicks) - (number + 1) * window)
            part = clicks[begin : len(clicks) - number * window]
            times = [click.time.replace(tzinfo=None) for click in part if click.candidates]
            if times:
                found.append(
                    (
                        user,
                        number,
                        max(times),
                        [click.row for click in part],
                        [max(0, click.seen - begin) for click in part],
                        [list(click.candidates) for click in part],
                        [float(bool(click.candidates)) for click in part],
                        [click.logged for click in part],
                    )
                )
    return found


def training_clicks(views: Sequence[View], items: Items) -> Counter[int]:
    """How often each news was clicked before the split, each user's history counted once."""
    return Counter(click.row for own in sequences(views, items, candidates=2, seed=0).values() for click in own)


def expected_ages(views: Sequence[View], items: Items) -> dict[tuple[str, str], list[float]]:
    """Of each impression after the split: hours since anyone was shown the same news, under any id of its row."""

    def news_of(news: str) -> int | str:
        return items.rows.get(news, news)

    found = {}
    for view in views:
        if view.time.date() >= SPLIT:
            listed = [news for news, _ in view.news if news in items.rows or not view.labelled]
            earlier = [other for other in views if other.time <= view.time]
            firsts = [
                min(v.time for v in earlier if news_of(news) in [news_of(other) for other, _ in v.news])
                for news in listed
            ]
            if listed:
                ages = [(view.time - first).total_seconds() / 3600 for first in firsts]
                found[view.impression_id, view.user_id] = ages
    return found


def as_tuples(found: list[Row]) -> list[tuple[Any, ...]]:
    """Rows of TRAJECTORIES as `expected` writes them: without source and variant."""
    utc = [row.asDict() | {"time": row["time"].astimezone(UTC).replace(tzinfo=None)} for row in found]
    return [tuple(row[name] for name in TRAJECTORIES.column_names[1:-1]) for row in utc]


def random_log(rng: random.Random, case: int = 0) -> tuple[list[View], Items]:
    """A few users' impressions, unlike those of any other case: with unknown news, news of equal text, equal seconds,
    histories that grow or disagree, unlabelled impressions, and impressions after the split."""
    first, at = 1000 * case, f"c{case:02d}"
    items = Items({f"{at}n{i}": first + (i if i % 5 else max(1, i - 3)) for i in range(1, 31)})

    def words(numbers: Sequence[int], clicks: float = 0) -> str:
        return " ".join(f"{at}n{i}" + "*" * (rng.random() < clicks) for i in numbers)  # n31 to n33 are unknown

    views = []
    for number in range(rng.randint(1, 25)):
        shown = rng.sample(range(1, 34), rng.randint(1, 7))
        history = [rng.randint(1, 33) for _ in range(rng.choice([0, 2, 6]))]
        hour = rng.choice([1, 1 + 0.3 / 3600, 2, 3, 20, 25, 30, 50, 60])
        user = f"{at}u{rng.randint(1, 4)}"
        views.append(View(f"i{number:02d}", user, hour, words(history), words(shown, 0.35), rng.random() < 0.9))
    return views, items
