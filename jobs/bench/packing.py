"""Benchmark: items encoded under each packing order relative to random order, and the order's speed and memory."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from jobs.bench.graphs import graph_of
from jobs.cli.command_line import run
from jobs.cli.progress import console, stage
from pipelines.packing.graph import Graph
from pipelines.packing.orders import ORDERS, Leaves, Order, shuffle_share
from pipelines.packing.quality import configuration_model, count_encodes, distinct_items, training_batch_order
from pipelines.packing.shard import IntArray

_AGES = (2, 20, 100)  # steps for which a cached vector is valid
_LINES = 5  # shuffles of superblocks over which cached figures are averaged


class MeasuredOrder(NamedTuple):
    """An order to measure, its graph, and the number of time ranges that are ordered and batched separately."""

    graph: Graph
    order: Order
    shards: int = 1


class Figures(NamedTuple):
    """The figures of one order at one batch size."""

    items: int
    spread: float  # items of the largest full batch / mean
    cached: dict[int, float]  # max_age -> items encoded in the order that training sees
    seconds: float
    per_second: float  # trajectories, on one core
    peak_bytes: int  # in addition to the graph


def packing(
    *,
    graph: Path,
    batches: tuple[int, ...] = (64, 256),
    superblock: int = 21,
    mixing: tuple[float, ...] = (0.1, 0.25, 0.5),
    shards: int = 8,
    repeats: int = 3,
    seed: int = 1,
) -> dict[str, Any]:
    """Measure the sum of distinct items over batches, relative to random order, of every order of `pack`.

    Parameters
    ----------
    graph
        An .npz with indptr, indices (items of each trajectory) and last_slot (its time), or a directory that `pack`
        wrote with --order time.
    batches
        Batch sizes, in trajectories.
    superblock
        Batches per superblock; training shuffles superblocks.
    mixing
        Shares of trajectories placed at random, measured with shp_balanced.
    shards
        Number of time ranges that are ordered one by one, to measure how much of the saving remains.
    repeats
        Runs of each order; seconds are the median, on one core.
    seed
        Seed of all random draws.
    """
    with stage("reading the graph"):
        full_graph = graph_of(graph)
        null = configuration_model(full_graph, seed=seed)
    found = {}
    for batch in batches:
        leaves = Leaves(batch=batch, superblock=superblock)
        with stage(f"batches of {batch}") as bar:
            tried = _orders_to_measure(full_graph, null, mixing, shards)
            for done, (name, one) in enumerate(tried.items(), start=1):
                bar.at(done, len(tried), name)
                found[name, batch] = _measure(one, leaves, seed, repeats)
    for batch in batches:
        _print(found, batch)
    return {"graph": graph.name, "trajectories": full_graph.trajectories, "pins": len(full_graph.item)} | _summary(
        found, batches
    )


def _orders_to_measure(
    full_graph: Graph, null: Graph, mixing: tuple[float, ...], shards: int
) -> dict[str, MeasuredOrder]:
    """Orders to measure by name. Those named `null` use the graph with randomly redrawn pins."""
    found = {name: MeasuredOrder(full_graph, order) for name, order in ORDERS.items()}
    found |= {f"shp_balanced+{share}": MeasuredOrder(full_graph, _mixing(share)) for share in mixing}
    found["shp, sharded"] = MeasuredOrder(full_graph, _sharded(shards), shards)
    return found | {"null random": MeasuredOrder(null, ORDERS["random"]), "null": MeasuredOrder(null, ORDERS["shp"])}


def _mixing(share: float) -> Order:
    return lambda graph, leaves, seed: shuffle_share(
        ORDERS["shp_balanced"](graph, leaves, seed), share=share, seed=seed
    )


def _sharded(shards: int) -> Order:
    """SHP within each of `shards` time ranges."""

    def order(graph: Graph, leaves: Leaves, seed: int) -> IntArray:
        parts = np.array_split(np.arange(graph.trajectories), shards)
        return np.concatenate([part[ORDERS["shp"](graph.subgraph(part), leaves, seed)] for part in parts])

    return order


def _measure(tried: MeasuredOrder, leaves: Leaves, seed: int, repeats: int) -> Figures:
    graph, order, shards = tried
    order(graph.subgraph(np.arange(min(graph.trajectories, 3 * leaves.batch))), leaves, seed)  # compiles
    runs = [in_child(graph, leaves, order, seed) for _ in range(repeats)]
    found = runs[0][0]
    starts = _batch_starts(len(found), leaves.batch, shards)
    items = distinct_items(graph, found, starts)
    full = items[np.diff(starts) == leaves.batch]
    lines = [training_batch_order(len(items), superblock=leaves.superblock, seed=seed + n) for n in range(_LINES)]
    return Figures(
        items=int(items.sum()),
        spread=float(full.max() / full.mean()) if len(full) else 1.0,
        cached={
            age: statistics.mean(count_encodes(graph, found, starts, line, max_age=age) for line in lines)
            for age in _AGES
        },
        seconds=(seconds := statistics.median(seconds for _, seconds, _ in runs)),
        per_second=graph.trajectories / seconds,
        peak_bytes=max(peak for _, _, peak in runs),
    )


def _batch_starts(trajectories: int, batch: int, shards: int) -> IntArray:
    """Starts of the batches; only the last batch of a shard can be short."""
    parts = np.array_split(np.arange(trajectories), shards)
    return np.append(np.concatenate([part[::batch] for part in parts]), trajectories)


def in_child(graph: Graph, leaves: Leaves, order: Order, seed: int) -> tuple[IntArray, float, int]:
    """(order, seconds, peak bytes) of one call in a forked process, so that its peak memory is measured alone."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        found = order(graph, leaves, seed)
        seconds = time.perf_counter() - began
        sender.send((found, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))

    child = context.Process(target=work)
    child.start()
    sender.close()
    result: tuple[IntArray, float, int] = receiver.recv()
    child.join()
    return result


def _ratio(found: dict[tuple[str, int], Figures], name: str, batch: int, age: int | None = None) -> float:
    base = found["null random" if name.startswith("null") else "random", batch]
    mine = found[name, batch]
    return round(mine.items / base.items if age is None else mine.cached[age] / base.cached[age], 4)


def _names(found: dict[tuple[str, int], Figures]) -> list[str]:
    return [name for name in dict.fromkeys(name for name, _ in found) if name != "null random"]


def _print(found: dict[tuple[str, int], Figures], batch: int) -> None:
    table = Table(
        title=f"Items / random order's {found['random', batch].items:,}, batches of {batch}",
        caption="age n: encoded with a cache of n steps; 1,000 trajectories per second on one core; peak memory",
    )
    for column in ("order", "ratio", "spread", *(f"age {age}" for age in _AGES), "1,000/s", "MB"):
        table.add_column(column, justify="left" if column == "order" else "right", no_wrap=True)
    for name in _names(found):
        mine = found[name, batch]
        cached = (f"{_ratio(found, name, batch, age):.3f}" for age in _AGES)
        speed = f"{mine.per_second / 1000:,.1f}"
        row = (
            f"{_ratio(found, name, batch):.3f}",
            f"{mine.spread:.2f}",
            *cached,
            speed,
            f"{mine.peak_bytes / 1e6:.0f}",
        )
        table.add_row(name, *row)
    console.print(table)


def _summary(found: dict[tuple[str, int], Figures], batches: tuple[int, ...]) -> dict[str, Any]:
    def each(figure: Any) -> dict[str, dict[str, Any]]:
        return {name: {str(batch): figure(name, batch) for batch in batches} for name in _names(found)}

    kept = {str(batch): _share_kept(found, batch) for batch in batches}
    return {
        "ratio": each(lambda name, batch: _ratio(found, name, batch)),
        "cached_ratio": each(lambda name, batch: _ratio(found, name, batch, 20)),
        "per_second": {name: round(min(found[name, batch].per_second for batch in batches)) for name in _names(found)},
        "cached_by_age": {str(age): each(lambda name, b, a=age: _ratio(found, name, b, a)) for age in _AGES},
        "spread": each(lambda name, batch: round(found[name, batch].spread, 3)),
        "seconds": each(lambda name, batch: round(found[name, batch].seconds, 3)),
        "peak_bytes": each(lambda name, batch: found[name, batch].peak_bytes),
        "random_items": {str(batch): found["random", batch].items for batch in batches},
        "sharded_keeps": kept,
    }


def _share_kept(found: dict[tuple[str, int], Figures], batch: int) -> float:
    """Share of SHP's saving that remains when time ranges are ordered one by one."""
    saving = 1 - _ratio(found, "shp", batch)
    return round((1 - _ratio(found, "shp, sharded", batch)) / saving, 3) if saving > 0 else 1.0


if __name__ == "__main__":
    raise SystemExit(run(packing))
