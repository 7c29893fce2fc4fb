"""Builds the page section on packing: items encoded per epoch by order, and the size and padding of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jobs.page.charts import Row, Series, bars, lines
from jobs.page.facts import Facts
from jobs.page.parts import Chart, Section, Table, Tile, integer, percent, plural


def packing(facts: Facts) -> Section | None:
    """The section; None without a manifest."""
    if facts.manifest is None:
        return None
    counts, worth = facts.parts["pack"], facts.parts.get("batches") or {}
    order = str(facts.manifest.config.get("order", ""))
    return Section(
        key="packing",
        title="Packing",
        caption=(
            f"{integer(counts['trajectories'])} trajectories in "
            f"{plural(counts['batches'], 'batch')}, grouped so that those that share news share a batch"
            f"{f' (order {order})' if order else ''}. A batch holds each of its news once."
        ),
        tiles=list(_tiles(facts, worth)),
        charts=[*_orders(counts, worth, order), _sizes(facts)],
    )


def _orders(counts: dict[str, Any], worth: dict[str, Any], order: str) -> Iterator[Chart]:
    """Items per epoch as packed and in other orders, largest first; nothing if no other order is known."""
    variants = counts.get("variants", 1)  # an epoch reads one variant
    packed = counts["distinct_items_per_epoch"] / variants
    found = [(f"as packed{f' ({order})' if order else ''}", packed, "main")]
    if "distinct_items_time_order" in counts:
        found.append(("in time order", counts["distinct_items_time_order"] / variants, "rival"))
    if "ratio_to_random" in worth:
        found.append(("in random order (expected)", packed / worth["ratio_to_random"], "rival"))
    if len(found) == 1:
        return
    rows = sorted(found, key=lambda row: -row[1])
    most = rows[0][1]
    spared = [f"{percent(1 - packed / value)} fewer than {label}" for label, value, role in rows if role == "rival"]
    yield Chart(
        key="orders",
        title="News encoded per epoch, by order of packing",
        caption=f"As packed, {' and '.join(spared)}; the same trajectories, the same budgets." if packed < most else
        "The same trajectories, the same budgets. Packing saved nothing here.",
        plot=bars([Row(label=label, value=value, caption=integer(value), role=role) for label, value, role in rows]),
        table=Table(
            columns=("order", "distinct news, summed over batches", "of the most"),
            rows=[(label, integer(value), percent(value / most)) for label, value, _ in rows],
        ),
    )  # fmt: skip


def _sizes(facts: Facts) -> Chart:
    """Distinct items and targets of each batch, in packed order."""
    assert facts.manifest is not None, "checked by packing"
    blocks = [block for _, _, block in facts.manifest.superblocks]
    items = [count for block in blocks for count in block.items]
    targets = [count for block in blocks for count in block.targets]
    at = list(range(len(items)))
    series = [
        Series(name="news", xs=at, ys=list(items)),
        Series(name="clicks to predict", xs=at, ys=list(targets), role="other"),
    ]
    rows = [(integer(n), integer(i), integer(t)) for n, i, t in zip(at, items, targets, strict=True)]
    mean = sum(items) / len(items)
    return Chart(
        key="sizes",
        title="What each batch holds",
        caption=f"{integer(mean)} news on average, from {integer(min(items))} to {integer(max(items))}.",
        plot=lines(_thinned(series), x="batch, in packed order", y="in the batch"),
        table=Table(columns=("batch", "news", "clicks to predict"), rows=_ends(rows)),
    )


def _thinned(series: list[Series], most: int = 400) -> list[Series]:
    """At most `most` points: every n-th batch."""
    step = -(-len(series[0].xs) // most)
    return [Series(name=one.name, xs=one.xs[::step], ys=one.ys[::step], role=one.role) for one in series]


def _ends(rows: Sequence[tuple[str, ...]], most: int = 60) -> Sequence[tuple[str, ...]]:
    """At most `most` rows, the first and the last ones."""
    return rows if len(rows) <= most else [*rows[: most // 2], ("…",) * len(rows[0]), *rows[-most // 2 :]]


def _tiles(facts: Facts, worth: dict[str, Any]) -> Iterator[Tile]:
    if "uses_of_an_item" in worth:
        caption = "clicks and candidates that share one encode within a batch"
        yield Tile(label="Uses of a news", value=f"{worth['uses_of_an_item']:.2f}", caption=caption)
    if "of_batch_before" in worth:
        caption = "of a batch's news are in the batch before too, where a cache saves encodes"
        yield Tile(label="Shared with the batch before", value=percent(worth["of_batch_before"]), caption=caption)
    if "click_padding" in worth:
        caption = f"of click cells are padding; of candidate cells {percent(worth['candidate_padding'])}"
        yield Tile(label="Padding", value=percent(worth["click_padding"]), caption=caption)
    if "items_spread" in worth:
        yield Tile(label="Spread", value=f"{worth['items_spread']:.2f}", caption="the largest batch's news ÷ the mean")
