"""Budget: where an ordered shard is cut into packed batches."""

from __future__ import annotations

import numpy as np

from pipelines.packing.shard import IntArray, Shard


def cut(shard: Shard, *, batch_trajectories: int, batch_items: int) -> IntArray:
    """Starts of the batches, the end included: batch i holds trajectories starts[i] up to starts[i + 1].

    A batch ends where one more trajectory would pass the budget of trajectories or of distinct items; a trajectory
    that alone holds more items than the budget gets a batch of its own.
    """
    pin_start, pin_row = distinct_pins(shard)
    starts = [0]
    while starts[-1] < shard.trajectories:
        start = starts[-1]
        stop = min(start + batch_trajectories, shard.trajectories)
        fitting = _fitting(pin_start[start : stop + 1], pin_row, batch_items)
        starts.append(start + max(1, fitting))
    return np.array(starts, np.int64)


def distinct_pins(shard: Shard) -> tuple[IntArray, IntArray]:
    """(starts, rows): the distinct items of each trajectory, clicks and candidates, as compressed sparse rows."""
    owner = shard.click_owner
    owners = np.concatenate([owner, np.repeat(owner, np.diff(shard.candidate_start))]).astype(np.int64)
    rows = np.concatenate([shard.click_row, shard.candidate_row]).astype(np.int64)
    width = int(rows.max(initial=0)) + 1
    pairs = np.unique(owners * width + rows)
    starts = np.searchsorted(pairs, np.arange(shard.trajectories + 1) * width)
    return starts, pairs % width


def _fitting(pin_start: IntArray, pin_row: IntArray, batch_items: int) -> int:
    """How many of these trajectories, from the first on, hold at most `batch_items` distinct items together."""
    first = pin_start[0]
    _, first_seen = np.unique(pin_row[first : pin_start[-1]], return_index=True)
    owner = np.searchsorted(pin_start - first, first_seen, side="right") - 1
    new_items = np.bincount(owner, minlength=len(pin_start) - 1)
    return int(np.searchsorted(np.cumsum(new_items), batch_items, side="right"))


def superblock_size(batches: int, *, wanted: int, superblocks_at_least: int = 8) -> int:
    """Batches per superblock: as wanted, but small enough that a data set has several superblocks to shuffle."""
    return max(1, min(wanted, batches // superblocks_at_least))
