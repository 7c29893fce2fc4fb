"""compiled: numba's compiler for the loops over pins that numpy cannot say; the plain functions stay readable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

Taken = ParamSpec("Taken")
Given = TypeVar("Given")


def compiled(function: Callable[Taken, Given]) -> Callable[Taken, Given]:
    """The function in machine code, made at its first call.

    The code is kept beside the source where it can be. Inside a zip, or on a machine that lets nobody write, there is
    no such place: then each Spark worker compiles it once, a few seconds.
    """
    try:
        made: Any = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:
        made = numba.njit(function, nogil=True)
    kept: Callable[Taken, Given] = made
    return kept


@compiled
def hashed(seed: int, first: int, second: int) -> int:
    """63 bits from three numbers (splitmix64's finisher, twice): a coin that depends on its key alone."""
    bits = np.uint64(seed) + np.uint64(first) * np.uint64(0x9E3779B97F4A7C15)
    for addend in (np.uint64(0), np.uint64(second) * np.uint64(0xD1B54A32D192ED03) + np.uint64(1)):
        bits += addend
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return np.int64(bits >> np.uint64(1))  # type: ignore[return-value]
