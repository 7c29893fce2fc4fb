"""StepEncoder: encodes the items of a step with the encoder or with a bfloat16 copy of it, compiled or not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainer.encode.chunks import IntArray
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder

SHAPE_STEPS = 4  # number of lengths that a compiler sees: T in quarters

Compiler = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]


def inductor(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile for fixed shapes."""
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    return compiled


def traced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.compile without code generation: the compiler stages that all devices share."""
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False, backend="aot_eager")
    return compiled


class StepEncoder:
    """Item rows (C,) -> vectors (C, D) with gradient to the master weights, which are the given encoder's own.

    With half precision, a bfloat16 copy computes; each gradient of its weights is added to the master's in float32 at
    once, so that chunks, ranks, clipping and AdamW use full precision (mixed precision, Micikevicius et al. 2018, 3.1).
    """

    def __init__(
        self, encoder: TextEncoder, items: ItemInput, *, half: bool = False, compiler: Compiler | None = None
    ) -> None:
        """`compiler`: None = not compiled."""
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
        # One compiled form for both passes: another might draw other dropout in a replay.
        with torch.enable_grad():
            vector_CD = self._vectors(given)
        return vector_CD if wanted else vector_CD.detach()

    def computed_shape(self, rows_C: IntArray) -> tuple[int, int]:
        """(rows, tokens of each row) in which these items are encoded, from integers on the host alone."""
        return self._masters.computed_shape(rows_C, self._items, shape_steps=self._steps)

    def forget(self) -> None:
        """Drop the gradients that an aborted step has left in the copy."""
        if self._encoder is not self._masters:
            self._encoder.zero_grad(set_to_none=True)

    @torch.no_grad()
    def follow(self) -> None:
        """Copy the masters' weights into the bfloat16 copy; to be called after they have changed."""
        if self._encoder is self._masters:
            return
        pairs = zip(self._encoder.parameters(), self._masters.parameters(), strict=True)
        copies, masters = (list(each) for each in zip(*pairs, strict=True))
        torch._foreach_copy_(copies, masters)


def _half_copy(encoder: TextEncoder) -> TextEncoder:
    """A bfloat16 copy of all but the frozen layers, which the copy shares; its gradients go to the masters.

    The modules around the trained layers are copied too, except the word embeddings.
    """
    shared: dict[int, Any] = {id(module): module for module in encoder.split.shared_modules}
    half = copy.deepcopy(encoder, shared)
    kept = {id(p) for module in half.split.shared_modules for p in module.parameters()}
    around = [p for module in half.split.around_modules for p in module.parameters() if id(p) not in kept]
    for own in (*half.parameters(), *around):  # buffers stay float32: rotary angles need full precision
        own.data = own.data.to(torch.bfloat16)
    for own, master in zip(half.parameters(), encoder.parameters(), strict=True):
        if own.requires_grad:
            own.register_post_accumulate_grad_hook(_adds_to(master))
    return half


def _adds_to(master: nn.Parameter) -> Callable[[Tensor], None]:
    def move(own: Tensor) -> None:
        if own.grad is None:  # torch.compile calls the hook of unused weights too
            return
        if master.grad is None:
            master.grad = own.grad.to(master.dtype)
        else:
            master.grad += own.grad
        own.grad = None

    return move
