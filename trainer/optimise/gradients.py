"""Gradients: one flat buffer that holds the gradients of all trained parameters, part by part.

One operation divides, measures, clips or reduces a part; a parameter's gradient is a view of the buffer.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainer.ranks.buckets import Bucket


class FlatGradients:
    """The gradients of some parts in one buffer, in the order of the parts, after `extra` numbers for other sums.

    Every parameter has a gradient, of zeros where nothing reached it. Parameters that nothing ever reaches do not
    belong here: AdamW would let them decay.
    """

    def __init__(self, parts: Mapping[str, Sequence[nn.Parameter]], *, extra: int = 0) -> None:
        """All parameters have one dtype and device, and so have their gradients."""
        self.parts = {name: list(part) for name, part in parts.items()}
        parameters = [p for part in self.parts.values() for p in part]
        like = parameters[0] if parameters else torch.empty(0)
        sizes = [sum(p.numel() for p in part) for part in self.parts.values()]
        ends = itertools.accumulate(sizes, initial=extra)
        self._spans = dict(zip(self.parts, itertools.pairwise(ends), strict=True))
        self.flat = torch.zeros(extra + sum(sizes), dtype=like.dtype, device=like.device)
        self.extra = self.flat[:extra]
        pieces = self.flat[extra:].split([p.numel() for p in parameters])
        self._views = [(p, piece.view_as(p)) for p, piece in zip(parameters, pieces, strict=True)]
        self.zero()

    def zero(self) -> None:
        """Sets all gradients to 0, and makes them the parameters' gradients."""
        self.flat.zero_()
        for parameter, view in self._views:
            parameter.grad = view

    def of(self, part: str) -> Tensor:
        """The gradients of a part, flat."""
        start, end = self._spans[part]
        return self.flat[start:end]

    def buckets(self, part: str, numbers: int) -> list[Bucket]:
        """The part of `of` in buckets, each of at least `numbers` gradients but the last, that divide no parameter."""
        found: list[Bucket] = []
        start = end = 0
        held: list[nn.Parameter] = []
        for parameter in self.parts[part]:
            held.append(parameter)
            end += parameter.numel()
            if end - start >= numbers or parameter is self.parts[part][-1]:
                found.append(Bucket(slice(start, end), held))
                start, held = end, []
        return found

    def up_to(self, part: str) -> Tensor:
        """The extra numbers and the gradients of all parts up to this one, flat."""
        return self.flat[: self._spans[part][1]]
