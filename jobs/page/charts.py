"""Builds figures for plotly.js from numbers. Every row has its label and value as text, so none depends on colour."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from jobs.page.palette import CLEAR, GRID, INK, PAPER, ROLES, SOFT

ROW_PIXELS = 46
AXIS_PIXELS = 46
PLOT_PIXELS = 230
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_BARE = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "fixedrange": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a figure: a bar that ends at `value`, or a point there."""

    label: str
    value: float
    caption: str
    """the value as text, next to the label"""
    role: str = "main"
    start: float = 0.0
    """where the bar begins"""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: a name and its points."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    role: str = "main"


def bars(rows: Sequence[Row], *, axis: str = "", log: bool = False) -> dict[str, Any]:
    """A horizontal bar per row, with its label above. With `log`, bars must not start at 0."""
    traces = []
    for role, places in _by_role(rows).items():  # plotly.js draws patterns only with one colour per trace
        tone, pattern = ROLES[role].tone.light, ROLES[role].pattern
        striped = {"shape": pattern, "fgcolor": PAPER.light, "fillmode": "overlay", "size": 6, "solidity": 0.35}
        trace = go.Bar(
            orientation="h",
            y=[place + 0.2 for place in places],
            x=[rows[place].value - rows[place].start for place in places],
            base=[rows[place].start for place in places],
            width=0.34,
            marker={"color": tone, "line": {"width": 0}, "pattern": striped},
            hovertext=[_hover(rows[place]) for place in places],
            hoverinfo="text",
        )
        traces.append(trace)
    plot = _rows_plot(traces, rows, _axis(axis, log=log) if axis else {**_BARE, "rangemode": "tozero"})
    plot["layout"]["barmode"] = "overlay"
    return plot


def dots(rows: Sequence[Row], *, axis: str, reference: tuple[float, str] | None = None) -> dict[str, Any]:
    """A point per row with its interval and its label above. `reference` is a line across all rows, with its name."""
    trace = go.Scatter(
        mode="markers",
        cliponaxis=False,
        x=[row.value for row in rows],
        y=[place + 0.2 for place in range(len(rows))],
        marker={
            "size": 11,
            "color": [ROLES[row.role].tone.light for row in rows],
            "symbol": [ROLES[row.role].symbol for row in rows],
            "line": {"width": 2, "color": [ROLES[row.role].tone.light for row in rows]},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [0 if row.high is None else row.high - row.value for row in rows],
            "arrayminus": [0 if row.low is None else row.value - row.low for row in rows],
            "color": SOFT.light,
            "thickness": 2,
            "width": 5,
        },
        hovertext=[_hover(row) for row in rows],
        hoverinfo="text",
    )
    plot = _rows_plot([trace], rows, _axis(axis))
    if reference is not None:
        plot["layout"]["shapes"] = [_vertical(reference[0])]
        where = {"x": reference[0], "xref": "x", "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        plot["layout"]["annotations"].append({**where, "text": _escaped(reference[1]), "font": _font(SOFT, 12)})
        plot["layout"]["margin"]["t"] += 22
        plot["layout"]["height"] += 22
    return plot


def lines(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    edges: Sequence[float] = (),
    end: float | None = None,
    from_zero: bool = True,
) -> dict[str, Any]:
    """A line per series over one axis, from 0 to `end` if that is given. Vertical lines mark `edges`."""
    traces = [
        go.Scatter(
            name=_escaped(one.name),
            x=list(one.xs),
            y=list(one.ys),
            mode="lines+markers",
            line={"color": ROLES[one.role].tone.light, "dash": ROLES[one.role].dash, "width": 2},
            marker={"symbol": ROLES[one.role].symbol, "size": 7, "color": ROLES[one.role].tone.light},
            hovertemplate=f"{_escaped(x)} %{{x:,}}<br>{_escaped(one.name)} %{{y:,.4~g}}<extra></extra>",
        )
        for one in series
    ]
    plot = _plot(traces, PLOT_PIXELS, _axis(x), _axis(y, vertical=True))
    plot["layout"]["shapes"] = [_vertical(edge) for edge in edges]
    if not from_zero:
        plot["layout"]["yaxis"]["rangemode"] = "normal"
    if end is not None:
        plot["layout"]["xaxis"]["range"] = [0, end * 1.02]
    if len(series) > 1:
        plot["layout"]["showlegend"] = True
        plot["layout"]["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": _font(INK, 13)}
    return plot


def columns(xs: Sequence[float | str], ys: Sequence[float], *, x: str, y: str) -> dict[str, Any]:
    """A vertical bar per x."""
    trace = go.Bar(
        x=list(xs),
        y=list(ys),
        marker={"color": ROLES["main"].tone.light},
        hovertemplate=f"{_escaped(x)} %{{x}}<br>{_escaped(y)} %{{y:,.4~g}}<extra></extra>",
    )
    plot = _plot([trace], PLOT_PIXELS, _axis(x) | {"type": "category", "nticks": 12}, _axis(y, vertical=True))
    plot["layout"]["bargap"] = 0.25
    return plot


def _by_role(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Indices of the rows of each role."""
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row.role, []).append(place)
    return found


def _rows_plot(traces: Sequence[Any], rows: Sequence[Row], xaxis: dict[str, Any]) -> dict[str, Any]:
    height = ROW_PIXELS * len(rows) + (AXIS_PIXELS if "title" in xaxis else 8)
    vertical = {**_BARE, "range": [len(rows) - 0.5, -0.5]}
    plot = _plot(traces, height, xaxis, vertical)
    where = {"xref": "paper", "x": 0, "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    where |= {"bgcolor": PAPER.light, "borderpad": 0, "align": "left"}  # hides grid lines behind labels
    plot["layout"]["annotations"] = [
        {**where, "y": place, "text": f"{_escaped(row.label)}  <b>{_escaped(row.caption)}</b>"}
        for place, row in enumerate(rows)
    ]
    return plot


def _plot(traces: Sequence[Any], height: int, xaxis: dict[str, Any], yaxis: dict[str, Any]) -> dict[str, Any]:
    layout = {
        "height": height,
        "autosize": True,
        "margin": {"l": 0, "r": 10, "t": 6, "b": 6},
        "font": _font(INK, 13),
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "showlegend": False,
        "dragmode": False,
        "hoverlabel": {"bgcolor": PAPER.light, "bordercolor": SOFT.light, "font": _font(INK, 13)},
        "xaxis": xaxis,
        "yaxis": yaxis,
    }
    made: dict[str, Any] = go.Figure(data=list(traces), layout=layout).to_plotly_json()
    made["layout"].pop("template", None)  # this layout is complete without it
    return made


def _axis(title: str, *, log: bool = False, vertical: bool = False) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": _escaped(title), "font": _font(SOFT, 12), "standoff": 8},
        "tickfont": _font(SOFT, 12),
        "gridcolor": GRID.light,
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        "nticks": 6,
    }
    if log:
        axis |= {"type": "log", "dtick": "D2", "tickformat": ",~r"}
    if vertical:
        axis |= {"rangemode": "tozero", "tickformat": ",~r"}
    return axis


def _vertical(x: float) -> dict[str, Any]:
    line = {"color": SOFT.light, "width": 1.5, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "between"}


def _font(tone: Any, size: int) -> dict[str, Any]:
    return {"family": _FONT, "size": size, "color": tone.light}


def _hover(row: Row) -> str:
    return f"{_escaped(row.label)}<br>{_escaped(row.caption)}"


def _escaped(text: str) -> str:
    """Escape a text, as plotly.js interprets some tags and entities (but never attributes with scripts)."""
    return html.escape(text, quote=False)
