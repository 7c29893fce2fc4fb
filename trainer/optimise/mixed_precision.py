"""StepEncoder: encodes the items of a step with the encoder or with a bfloat16 copy of it, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainer.encode.cutting import IntArray
from trainer.model.encoder_input import ChunkArrays, Form, chunk_arrays
from trainer.model.half_copy import half_copy
from trainer.model.item_input import ItemInput, on_device
from trainer.model.text_encoder import TextEncoder
from trainer.optimise.compiled import FORMS, Compiler, compiled_for
from trainer.optimise.gradients import FlatGradients
from trainer.ranks.buckets import BUCKET_NUMBERS, BucketReducer

_ALL = slice(None)


class StepEncoder:
    """A chunk's input -> vectors (C, D) with gradient to the master weights, which are the given encoder's own.

    With half precision, a bfloat16 copy computes; its gradients are added to the masters' in float32 after each chunk,
    so that chunks, ranks, clipping and AdamW use full precision (mixed precision, Micikevicius et al. 2018, section
    3.1).
    """

    def __init__(
        self,
        encoder: TextEncoder,
        items: ItemInput,
        *,
        half: bool = False,
        compiler: Compiler | None = None,
        forms: int = FORMS,
    ) -> None:
        """`compiler`: None = not compiled; `forms`: the number of shapes that chunks have then."""
        self._items = items
        self._masters = encoder
        self._encoder = half_copy(encoder) if half else encoder
        self._compiled = compiler is not None
        vectors: Callable[..., Tensor] = self._encoder.vectors
        self._vectors = vectors if compiler is None else compiled_for(vectors, compiler, forms)
        trained = [pair for pair in zip(self._encoder.parameters(), encoder.parameters(), strict=True) if half]
        self._copy_of = {id(master): own for own, master in trained if master.requires_grad}
        self._gradients: tuple[FlatGradients, Tensor] | None = None  # of the copy, and of the masters in that order
        self._reducer: BucketReducer | None = None

    def __call__(self, tensors: Mapping[str, Tensor], /) -> Tensor:
        """Vectors of the result of `arrays` on the device, with a graph if gradients are enabled."""
        if self._encoder.training is not self._masters.training:
            self._encoder.train(self._masters.training)
        given = self._encoder.given(tensors, self._items)
        if not self._compiled:
            return self._vectors(given)
        wanted = torch.is_grad_enabled()
        # One compiled form for both passes: another might draw other dropout in a replay.
        with torch.enable_grad():
            vector_CD = self._vectors(given)
        return vector_CD if wanted else vector_CD.detach()

    def arrays(self, rows_C: IntArray, form: Form | None = None, *, real: int | None = None) -> ChunkArrays:
        """The input of these rows on the host, as `chunk_arrays`."""
        return chunk_arrays(rows_C, self._items, self._masters.layout, form, real=real)

    def of_rows(self, rows_C: IntArray, form: Form | None = None, *, real: int | None = None) -> Tensor:
        """The vectors of these rows; `form` and `real` as in `chunk_arrays`."""
        arrays = self.arrays(rows_C, form, real=real).arrays
        return self({name: on_device(array, self._items.device) for name, array in arrays.items()})

    def send_to(self, gradients: FlatGradients, part: str) -> None:
        """From now on `collect` adds the copy's gradients to this part of the masters' flat ones."""
        if self._copy_of:
            own = FlatGradients({part: [self._copy_of[id(master)] for master in gradients.parts[part]]})
            self._gradients = (own, gradients.of(part))

    def reducer(self, gradients: FlatGradients, part: str, *, numbers: int = BUCKET_NUMBERS) -> BucketReducer:
        """Sums this part over ranks; from now on it begins during the backward pass of a step's last chunk.

        To be called after `send_to`. `numbers`: gradients in a bucket, at least.
        """
        own, masters = self._gradients or (gradients, gradients.of(part))
        self._reducer = BucketReducer(masters, own.buckets(part, numbers), self.collect)
        return self._reducer

    def backward(self, vector_CD: Tensor, gradient_CD: Tensor, *, last: bool) -> None:
        """Back-propagate a chunk's vectors to the masters' gradients; `last`: it is the step's last chunk."""
        sums = self._reducer if last else None
        if sums is not None:
            sums.arm()
        torch.autograd.backward(vector_CD, gradient_CD)
        if sums is None:  # a bucket is collected before it is sent: afterwards it is being summed
            self.collect()

    @torch.no_grad()
    def collect(self, span: slice = _ALL) -> None:
        """Add the copy's gradients to the masters' in float32, all or this piece; after each backward pass."""
        if self._gradients is not None:
            own, masters = self._gradients
            masters[span].add_(own.flat[span])
            own.flat[span].zero_()

    def forget(self) -> None:
        """Drop the gradients that an aborted step has left in the copy."""
        if self._gradients is not None:
            self._gradients[0].zero()

    @torch.no_grad()
    def follow(self) -> None:
        """Copy the masters' weights into the bfloat16 copy; to be called after they have changed."""
        if self._encoder is self._masters:
            return
        pairs = zip(self._encoder.parameters(), self._masters.parameters(), strict=True)
        copies, masters = (list(each) for each in zip(*pairs, strict=True))
        torch._foreach_copy_(copies, masters)
