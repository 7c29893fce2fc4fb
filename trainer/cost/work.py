"""Counts the encoder's work in a step from integers, in the loader thread; no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from schemas.token_table import TokenTable
from trainer.cost.flops import LayerShape, forward_flops
from trainer.encode.chunks import Chunk
from trainer.encode.cutting import IntArray
from trainer.encode.plan import Plan
from trainer.model.split_encoder import SplitEncoder


class Work(NamedTuple):
    """The work of one step on one rank, without the frozen layers, whose output comes from the store."""

    tokens: int
    """of the items that are encoded"""
    computed_tokens: int
    """the same with padding, in the form in which the chunks enter the layers"""
    flops: int
    """forward of what is encoded, twice that for what is back-propagated, by the formula of flops.py"""
    computed_flops: int
    """the same with padding, and with the second forward of chunks that are replayed"""

    def plus(self, other: Work) -> Work:
        """The sum of both."""
        return Work(*(left + right for left, right in zip(self, other, strict=True)))


NO_WORK = Work(0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """For each item row: all its tokens, and the sum over its segments of their lengths' squares."""

    tokens_V: IntArray
    squares_V: IntArray

    @classmethod
    def of(cls, table: TokenTable) -> Lengths:
        """From the token table's offsets."""
        length_S = np.diff(np.asarray(table.token_start_S1)).astype(np.int64)
        starts_V1 = np.asarray(table.segment_start_V1)
        return cls(tokens_V=_sums(length_S, starts_V1), squares_V=_sums(length_S**2, starts_V1))


class _Passed(NamedTuple):
    """Tokens that pass through the layers, and the sum over them of the keys that each sees."""

    tokens: int
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCounter:
    """Counts the work of plans. `kept_chunks`: as configured, without later reductions by run.auto_chunk."""

    lengths: Lengths
    shape: LayerShape
    kept_chunks: int | None

    def of(self, plan: Plan, computed_shape: Mapping[int, tuple[int, int]]) -> Work:
        """The work of a plan. `computed_shape`: (rows, tokens of each row) of each chunk, by its seed; each token sees
        all of its row."""
        counted = partial(_computed, computed_shape)
        kept = len(plan.backward) if self.kept_chunks is None else self.kept_chunks
        graphs = {chunk.seed for chunk in plan.backward[:kept]} & {chunk.seed for chunk in plan.encode}
        replayed = [chunk for chunk in plan.backward if chunk.seed not in graphs]
        real, computed = self._real(plan.encode), counted(plan.encode)
        real_back, computed_back = self._real(plan.backward), counted(plan.backward)
        return Work(
            tokens=real.tokens,
            computed_tokens=computed.tokens,
            flops=self._flops(real, real_back, real_back),
            computed_flops=self._flops(computed, computed_back, computed_back, counted(replayed)),
        )

    def _flops(self, *passes: _Passed) -> int:
        return sum(forward_flops(self.shape, tokens=each.tokens, pairs=each.pairs) for each in passes)

    def _real(self, chunks: Sequence[Chunk]) -> _Passed:
        rows = np.concatenate([np.zeros(0, np.int64), *(chunk.rows_C[: chunk.items] for chunk in chunks)])
        return _Passed(int(self.lengths.tokens_V[rows].sum()), int(self.lengths.squares_V[rows].sum()))


def _computed(shapes: Mapping[int, tuple[int, int]], chunks: Sequence[Chunk]) -> _Passed:
    found = [shapes[chunk.seed] for chunk in chunks]
    return _Passed(sum(rows * width for rows, width in found), sum(rows * width**2 for rows, width in found))


def trained_shape(split: SplitEncoder) -> LayerShape:
    """The shape of the trained layers. Counts every linear map, once if a family shares it between layers."""
    linear = [
        part for name, part in split.upper.named_modules() if isinstance(part, nn.Linear) and "pooler" not in name
    ]
    trained: Any = split.upper
    layers = len(trained) if split.frozen_layers else int(trained.config.num_hidden_layers)
    return LayerShape(width=split.hidden, layers=layers, weights=sum(part.weight.numel() for part in linear))


def _sums(of_S: NDArray[np.int64], start_V1: IntArray) -> IntArray:
    """For each item, the sum over its segments."""
    total_S1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_S)])
    return np.asarray(np.diff(total_S1[start_V1]), np.int64)
