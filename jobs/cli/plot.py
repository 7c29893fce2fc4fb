"""Draws four views of a packed directory's batches as a PNG."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.data.description import Description

_INK, _PALE = "#1f5c99", "#c2701e"


def draw(found: Description, path: Path, *, title: str) -> None:
    """Write the figure; no display is needed."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(12, 8), layout="constrained")
    figure.suptitle(title, fontsize=12)
    views = figure.subplots(2, 2)
    _items(views[0, 0], found)
    _sizes(views[0, 1], found)
    _reuse(views[1, 0], found)
    _lengths(views[1, 1], found)
    for view in views.flat:
        view.grid(alpha=0.25)
        view.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _items(view: Axes, found: Description) -> None:
    items, superblock = found.columns["items"], found.columns["superblock"]
    view.plot(items, color=_INK, linewidth=0.9)
    view.axhline(items.mean(), color=_PALE, linestyle="--", linewidth=1, label=f"mean {items.mean():,.0f}")
    for edge in np.flatnonzero(np.diff(superblock)) + 0.5:
        view.axvline(edge, color="#999999", linewidth=0.3)
    view.set(title="Distinct items of each batch", xlabel="batch, in packed order", ylabel="items", ylim=(0, None))
    view.legend(frameon=False)


def _sizes(view: Axes, found: Description) -> None:
    items = found.columns["items"]
    view.hist(items, bins=min(40, max(5, len(items) // 3)), color=_INK)
    spread = f"largest ÷ mean = {items.max() / items.mean():.2f}"
    view.axvline(items.mean(), color=_PALE, linestyle="--", linewidth=1, label=spread)
    view.set(title="Batches by distinct items", xlabel="items", ylabel="batches", xlim=(0, None))
    view.legend(frameon=False)


def _reuse(view: Axes, found: Description) -> None:
    uses = found.columns["item_occurrences"] / found.columns["items"]
    again = found.columns["items_of_batch_before"] / found.columns["items"]
    view.plot(uses, color=_INK, linewidth=0.9)
    view.set(title="Reuse", xlabel="batch, in packed order", ylim=(0, None))
    view.set_ylabel("clicks and candidates per encoded item", color=_INK)
    other = view.twinx()
    other.plot(again, color=_PALE, linewidth=0.9)
    other.set(ylim=(0, 1))
    other.set_ylabel("share of items that the batch before held", color=_PALE)


def _lengths(view: Axes, found: Description) -> None:
    length = found.length_B
    view.hist(length, bins=min(50, int(length.max())), color=_INK)
    view.axvline(length.mean(), color=_PALE, linestyle="--", linewidth=1, label=f"mean {length.mean():.1f}")
    view.set(title="Trajectories by length", xlabel="clicks", ylabel="trajectories", yscale="log")
    view.legend(frameon=False)
