"""How much the publisher writes, and when: the sizes, the days of the log and the stock of older news before them.

Shape letters of the publisher, which has no tokens or vectors: V news, T topics, U users, S sessions, I impressions,
P shown news of all impressions end to end, C clicks of all users end to end, D deliveries, R rows of a local step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

START = np.datetime64("2026-03-02T00:00:00", "s")  # a Monday; every time below counts seconds from here
DAY = 86_400
DAYS = 6  # the last one is kept for evaluation
STOCK_DAYS = 8  # news published before the log begins: what the histories were clicked on

SizeName = Literal["tiny", "demo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many users and news there are, on how many of the topics, and about how many impressions."""

    users: int
    news: int
    topics: int
    impressions: int


SIZES: dict[SizeName, Size] = {
    "tiny": Size(users=150, news=300, topics=30, impressions=600),
    "demo": Size(users=2_250, news=3_000, topics=42, impressions=12_000),
}


def starts_of(count_N: Ints) -> Ints:
    """Where each of N runs of the given lengths starts when they are laid end to end, and the end (N + 1 numbers)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(count_N, dtype=np.int64)])


def as_times(seconds: Ints) -> NDArray[np.datetime64]:
    """Seconds from START as UTC times."""
    return START + seconds.astype("timedelta64[s]")


def shuffled_ids(letter: str, count: int, rng: np.random.Generator, *, digits: int = 5) -> NDArray[np.bytes_]:
    """One id per row, all of one width, in an order that tells nothing about the rows."""
    width = max(digits, len(str(count)))
    return np.array([f"{letter}{i:0{width}d}".encode() for i in rng.permutation(count)])
