"""Reads the graph for the packing benchmark: a study's hypergraph, or the trajectories of a packed directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.packing.graph import Graph
from schemas.errors import InputError
from trainer.data.directory import PackedDirectory
from trainer.data.reader import arrow_superblocks

_NAMES = ("indptr", "indices", "last_slot")


def graph_of(path: Path) -> Graph:
    """Read trajectories in time order. InputError unless `path` is an .npz of a graph, or packed in time order."""
    return _of_directory(path) if path.is_dir() else _of_npz(path)


def _of_npz(path: Path) -> Graph:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            start, rows, slot = (arrays[name] for name in _NAMES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--graph {path}: neither a packed directory nor an .npz with {', '.join(_NAMES)} ({error})"
        ) from error
    if start[0] != 0 or np.any(np.diff(start) < 0) or start[-1] != len(rows) or len(slot) != len(start) - 1:
        raise InputError(f"--graph {path}: indptr does not fit indices and last_slot")
    if len(rows) and rows.min() < 0:
        raise InputError(f"--graph {path}: indices below 0")
    by_time = np.lexsort((np.random.default_rng(0).permutation(len(slot)), slot))
    return Graph.from_rows(start.astype(np.int64), rows.astype(np.int64)).subgraph(by_time)


def _of_directory(path: Path) -> Graph:
    directory = PackedDirectory.open(path)
    order = directory.manifest.config.get("order")
    if order != "time":
        raise InputError(f"--graph {path}: packed in order {order!r}. Pack it with --order time")
    blocks = [number for number, (_, _, block) in enumerate(directory.superblocks) if block.variant == 0]
    pins = []
    for superblock in arrow_superblocks(directory, blocks):
        for batch in superblock:
            clicks, candidates = batch["click_mask_BL"], batch["target_mask_BLK"]
            for b in range(len(clicks)):
                slots = [batch["click_slot_BL"][b][clicks[b]], batch["target_slot_BLK"][b][candidates[b]]]
                pins.append(batch["item_row_N"][np.unique(np.concatenate(slots))])
    start = np.cumsum([0, *map(len, pins)])
    return Graph.from_rows(start, np.concatenate(pins))
