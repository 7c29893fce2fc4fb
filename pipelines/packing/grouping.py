"""Grouping: in which order a shard's trajectories stand, so that neighbours share news."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]


def time_order(time_B: IntArray, fingerprint_B: IntArray) -> IntArray:
    """Indices that put trajectories in time order.

    Equal times are ordered by a fingerprint of the content, so that neither row order nor user ids decide:
    trajectories that agree in both are interchangeable.
    """
    order: IntArray = np.lexsort((fingerprint_B, time_B))
    return order
