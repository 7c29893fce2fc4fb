"""Plan work: tokens and multiplications of a plan's encodes, by the formula of trainer/loop/encoder_speed.py.

Useful: each item's own tokens, encoded once and back-propagated once. Hardware: what was computed, padding to the
chunk's longest item, padded rows and replayed chunks included. The head and frozen layers count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from trainer.encode.chunks import Chunk, IntArray
from trainer.encode.plan import Plan


@dataclass(slots=True, kw_only=True)
class Work:
    """Sums over plans."""

    real_tokens: int = 0
    computed_tokens: int = 0
    useful_flops: float = 0.0
    hardware_flops: float = 0.0


def work_of(
    plans: Iterable[Plan], tokens_V: IntArray, forward: Callable[[IntArray], float], *, kept_chunks: int | None
) -> Work:
    """Of items of one segment each; `forward` maps lengths to the multiplications of a forward pass."""
    work = Work()
    for plan in plans:
        kept = {id(chunk) for chunk in plan.backward[:kept_chunks]} & {id(chunk) for chunk in plan.encode}
        for chunk in plan.encode:
            _add(work, chunk, tokens_V, forward, passes=1)
        for chunk in plan.backward:  # twice a forward, and the forward again where no graph was kept
            _add(work, chunk, tokens_V, forward, passes=2, replays=id(chunk) not in kept, tokens=False)
    return work


def _add(
    work: Work,
    chunk: Chunk,
    tokens_V: IntArray,
    forward: Callable[[IntArray], float],
    *,
    passes: int,
    replays: bool = False,
    tokens: bool = True,
) -> None:
    real = tokens_V[chunk.rows_C[: chunk.items]]
    computed = np.full(len(chunk.rows_C), max(1, int(real.max(initial=1))))
    work.useful_flops += passes * forward(real)
    work.hardware_flops += (passes + replays) * forward(computed)
    work.real_tokens += tokens * int(real.sum())
    work.computed_tokens += (tokens + replays) * int(computed.sum())
