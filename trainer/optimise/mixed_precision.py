"""StepEncoder: what a step encodes with: the encoder, or a bfloat16 copy beside float32 masters; compiled or not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.encode.chunks import IntArray
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder

SHAPE_STEPS = 4  # lengths that a compiler sees: T in quarters

Compiler = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


def inductor(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile for fixed shapes."""
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    return compiled


def traced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same without machine code at its end: what a compiler does on every device before it writes any."""
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False, backend="aot_eager")
    return compiled


class StepEncoder:
    """Item rows (C,) -> vectors (C, D) with gradient to the master weights, which are the given encoder's own.

    A bfloat16 copy multiplies; as soon as one of its weights has a gradient, it is added to the master's in float32,
    so that chunks, ranks, clipping and AdamW meet full precision (mixed precision, Micikevicius et al. 2018, 3.1).
    """

    def __init__(
        self, encoder: TextEncoder, items: ItemInput, *, half: bool = False, compiler: Compiler | None = None
    ) -> None:
        """`compiler`: None = as written."""
        self._items = items
        self._masters = encoder
        self._encoder = _half_copy(encoder) if half else encoder
        self._steps = 1 if compiler is None else SHAPE_STEPS
        self._compiled = compiler is not None
        vectors: Callable[..., Tensor] = self._encoder.vectors
        self._vectors = vectors if compiler is None else compiler(vectors)

    def __call__(self, rows_C: IntArray) -> Tensor:
        """Vectors, with a graph if gradients are enabled."""
        self._encoder.train(self._masters.training)
        given = self._encoder.inputs(rows_C, self._items, shape_steps=self._steps)
        if not self._compiled:
            return self._vectors(given)
        wanted = torch.is_grad_enabled()
        # One compiled form for both passes: nothing promises that another would draw the same dropout in a replay.
        with torch.enable_grad():
            vector_CD = self._vectors(given)
        return vector_CD if wanted else vector_CD.detach()

    def computed_shape(self, rows_C: IntArray) -> tuple[int, int]:
        """(rows, tokens of each) that these items are encoded as, from integers on the host alone."""
        return self._masters.computed_shape(rows_C, self._items, shape_steps=self._steps)

    def forget(self) -> None:
        """Drop what gradients a step that was broken off has left in the copy."""
        if self._encoder is not self._masters:
            self._encoder.zero_grad(set_to_none=True)

    @torch.no_grad()
    def follow(self) -> None:
        """The copy takes over the masters' weights; to be called when these have changed."""
        if self._encoder is self._masters:
            return
        pairs = zip(self._encoder.parameters(), self._masters.parameters(), strict=True)
        copies, masters = (list(each) for each in zip(*pairs, strict=True))
        torch._foreach_copy_(copies, masters)


def _half_copy(encoder: TextEncoder) -> TextEncoder:
    """A bfloat16 copy of all but the frozen layers, which the copy shares; its gradients go to the masters.

    What trained layers run inside of is copied too, but for the words' vectors.
    """
    shared: dict[int, Any] = {id(module): module for module in encoder.split.shared_modules}
    half = copy.deepcopy(encoder, shared)
    kept = {id(p) for module in half.split.shared_modules for p in module.parameters()}
    around = [p for module in half.split.around_modules for p in module.parameters() if id(p) not in kept]
    for own in (*half.parameters(), *around):  # buffers stay: angles of rotary positions need all their digits
        own.data = own.data.to(torch.bfloat16)
    for own, master in zip(half.parameters(), encoder.parameters(), strict=True):
        if own.requires_grad:
            own.register_post_accumulate_grad_hook(_adds_to(master))
    return half


def _adds_to(master: nn.Parameter) -> Callable[[Tensor], None]:
    def move(own: Tensor) -> None:
        if own.grad is None:  # compiled, a weight that nothing reads is told of too
            return
        if master.grad is None:
            master.grad = own.grad.to(master.dtype)
        else:
            master.grad += own.grad
        own.grad = None

    return move
