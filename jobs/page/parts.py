"""Defines the parts of the page before they become HTML, and formats its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

MINUS, TIMES, DASH = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of formatted cells; the first cell of each row is its heading."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    strong: frozenset[int] = frozenset()
    """indices of highlighted rows"""
    open: bool = False
    """whether a table without a chart is expanded at first"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure, a sentence that describes it, and the same numbers as a table."""

    key: str
    """its id on the page"""
    title: str
    caption: str
    plot: dict[str, Any]
    """data and layout for plotly.js"""
    table: Table
    shape: Literal["", "wide", "tall"] = ""
    """wide: across the page; tall: as high as two stacked charts"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure with its name and context."""

    label: str
    value: str
    caption: str = ""
    """one line or more"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading of the page and the content below it."""

    key: str
    title: str
    caption: str = ""
    tiles: Sequence[Tile] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    explorer: bool = False


def arranged(charts: Sequence[Chart]) -> list[Chart]:
    """Lay charts out in two columns: one that would be alone in its row becomes as wide as the page."""
    found: list[Chart] = []
    columns = 0
    for at, chart in enumerate(charts):
        last = at + 1 == len(charts) or charts[at + 1].shape == "wide"
        columns += {"": 1, "tall": 2, "wide": 0}[chart.shape]
        alone = last and columns % 2 == 1 and chart.shape == ""
        found.append(replace(chart, shape="wide") if alone else chart)
        columns = 0 if last else columns
    return found


def integer(number: float) -> str:
    """12,131."""
    return f"{number:,.0f}".replace("-", MINUS)


def rate(number: float) -> str:
    """1,826 and 41.7: at least three digits."""
    return integer(number) if abs(number) >= 100 else f"{number:.1f}"


def times(factor: float) -> str:
    """43.8 ×; two decimals for small factors, such as 1.03 ×."""
    return f"{factor:.1f} {TIMES}" if factor >= 1.95 else f"{factor:.2f} {TIMES}"


def score(value: float | None) -> str:
    """0.820; a dash for None."""
    return DASH if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """+0.056."""
    return DASH if value is None else f"{value:+.3f}".replace("-", MINUS)


def percent(share: float) -> str:
    """86.5%."""
    return f"{100 * share:.1f}%"


def seconds(value: float) -> str:
    """35.6 s; from 100 seconds on 2 min 38 s."""
    return f"{value:.1f} s" if value < 100 else f"{int(value) // 60:,} min {int(value) % 60} s"


def interval(low: float | None, high: float | None) -> str:
    """[0.812, 0.829]; empty if not measured."""
    return "" if low is None or high is None else f"[{score(low)}, {score(high)}]".replace("-", MINUS)


def plural(count: float, word: str) -> str:
    """1 batch, 31 batches."""
    more = "es" if word.endswith(("ch", "s", "sh", "x")) else "s"
    return f"{integer(count)} {word if count == 1 else word + more}"
