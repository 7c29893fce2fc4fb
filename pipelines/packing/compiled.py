"""Compiles loops over pins with numba, for what numpy cannot express."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function as machine code, compiled at its first call.

    The code is cached next to the source. Without a writable folder there, such as inside a zip, each Spark worker
    compiles it once, which takes a few seconds.
    """
    try:
        made: Any = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:
        made = numba.njit(function, nogil=True)
    function_in_machine_code: Callable[Parameters, Result] = made
    return function_in_machine_code


@compiled
def hash63(seed: int, first: int, second: int) -> int:
    """A 63-bit hash of three numbers (splitmix64's finisher, twice): a random number that depends on its key alone."""
    bits = np.uint64(seed) + np.uint64(first) * np.uint64(0x9E3779B97F4A7C15)
    for addend in (np.uint64(0), np.uint64(second) * np.uint64(0xD1B54A32D192ED03) + np.uint64(1)):
        bits += addend
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return np.int64(bits >> np.uint64(1))  # type: ignore[return-value]
