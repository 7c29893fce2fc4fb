"""Finds which item rows a run's batches hold, and how often they are clicked: from the item use, or batch by batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.config import TrainConfig
from trainer.data.backends import BACKENDS
from trainer.data.directory import PackedDirectory
from trainer.data.position import Order
from trainer.data.reader import Reader


def clicks_per_row(directory: PackedDirectory, config: TrainConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(clicks of each item row in the training trajectories, the item rows in batches of any variant).

    Older directories lack both, and all their batches are read.
    """
    use = directory.item_use()
    if use is not None:
        return use.clicks_V, np.flatnonzero(use.in_batches_V)
    clicks_V = np.zeros(directory.manifest.tokens.rows, np.int64)
    seen_V = np.zeros(len(clicks_V), np.bool_)
    order = Order(seed=config.run.seed, batches_per_step=1)
    for variant in range(directory.variants):
        for batches in Reader(directory, order, BACKENDS[config.run.reader]).steps(variant):
            for batch in batches:
                seen_V[batch.ask_M] = True
                if variant == 0:  # the others hold the same clicks
                    np.add.at(clicks_V, batch.ask_M[batch.click_slot_BL[batch.click_mask_BL]], 1)
    return clicks_V, np.flatnonzero(seen_V)
