"""Sizes of a sample: users, news and impressions, the days of the log and the stock of older news before them.

Shape letters of the publisher, which has no tokens or vectors: V news, T topics, U users, S sessions, I impressions,
P shown news of all impressions end to end, C clicks of all users end to end, M messages, D deliveries, R rows of a
local step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ids = NDArray[np.bytes_]

START = np.datetime64("2026-03-02T00:00:00", "s")  # a Monday; every time below counts seconds from here
DAY = 86_400
DAYS = 6  # the last one is kept for evaluation
STOCK_DAYS = 8  # news published before the log begins: what the histories were clicked on
SECTION = 250_000  # impressions that are drawn at once: bounds the memory of a large sample

SizeName = Literal["tiny", "demo", "mindsmall", "million", "five_million"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The number of users, news and topics, and the approximate number of impressions."""

    users: int
    news: int
    topics: int
    impressions: int
    body_sentences: tuple[int, int] = (6, 40)  # of a news: fewest, most
    files_a_day: int = 1

    def sections(self) -> Iterator[Size]:
        """Sizes of the parts in which the log is drawn, users and impressions split evenly; a small log is one."""
        parts = max(1, -(-self.impressions // SECTION))
        users, impressions = (_evenly(count, parts) for count in (self.users, self.impressions))
        for part_users, part_impressions in zip(users, impressions, strict=True):
            yield replace(self, users=part_users, impressions=part_impressions)

    def with_impressions(self, count: int) -> Size:
        """The same publisher with about `count` impressions, users in proportion and the same news."""
        users = max(1, round(self.users * count / self.impressions))
        return replace(self, users=users, impressions=count)


_SHORT = (1, 3)
SIZES: dict[SizeName, Size] = {
    "tiny": Size(users=150, news=300, topics=30, impressions=600),
    "demo": Size(users=2_250, news=3_000, topics=42, impressions=12_000),
    "mindsmall": Size(users=50_000, news=65_000, topics=42, impressions=157_000, body_sentences=_SHORT),
    "million": Size(
        users=100_000, news=65_000, topics=42, impressions=1_000_000, body_sentences=_SHORT, files_a_day=24
    ),
    "five_million": Size(
        users=500_000, news=65_000, topics=42, impressions=5_000_000, body_sentences=_SHORT, files_a_day=24
    ),
}


def _evenly(count: int, parts: int) -> list[int]:
    edges = [count * part // parts for part in range(parts + 1)]
    return [end - start for start, end in pairwise(edges)]


def starts_of(count_N: Ints) -> Ints:
    """Where each of N runs of the given lengths starts when they are concatenated, and the end (N + 1 numbers)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(count_N, dtype=np.int64)])


def some_of(able_I: Bools, rate: float, rng: np.random.Generator) -> Bools:
    """Marks that share of all I, at least one, at random among those that are able."""
    able = np.flatnonzero(able_I)
    marked_I = np.zeros(len(able_I), np.bool_)
    marked_I[rng.permutation(able)[: max(1, round(rate * len(able_I)))]] = True
    return marked_I


def as_times(seconds: Ints) -> NDArray[np.datetime64]:
    """Seconds from START as UTC times."""
    return START + seconds.astype("timedelta64[s]")


def shuffled_ids(letter: str, count: int, rng: np.random.Generator, *, digits: int = 5, first: int = 0) -> Ids:
    """One id per row, numbered from `first` on, all of one width, in an order independent of the rows."""
    width = max(digits, len(str(first + count)))
    return np.array([f"{letter}{first + i:0{width}d}".encode() for i in rng.permutation(count)], f"S{width + 1}")
