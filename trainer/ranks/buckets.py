"""BucketReducer: sums flat gradients over ranks bucket by bucket, while a backward pass still computes the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from trainer.ranks.process_group import begin_sum

BUCKET_NUMBERS = 25 * 2**20 // 4  # 25 MiB of float32: a network's full speed, and several buckets per language model


class Bucket(NamedTuple):
    """A piece of a flat tensor of gradients, and the parameters whose backward pass writes it."""

    span: slice
    parameters: Sequence[nn.Parameter]


class BucketReducer:
    """Sums a flat tensor over ranks in buckets, after other tensors of the same step.

    Ranks pair what they send by its order, so buckets are sent in the order of the list, whatever autograd's order is.
    A rank that computes nothing sends the same buckets. A step that fails leaves sums unfinished, so that its run ends.
    """

    def __init__(self, flat: Tensor, buckets: Sequence[Bucket], collect: Callable[[slice], None]) -> None:
        """`flat`: what is summed; `collect` is called with each bucket's span just before it is sent. Of the buckets'
        parameters, each backward pass must write a gradient at most once, as it does without reentrant checkpoints."""
        self._flat, self._buckets, self._collect = flat, buckets, collect
        self._missing: list[int] | None = None  # gradients of the armed pass that each bucket still lacks
        self._sent = 0  # buckets
        self._waits: list[Callable[[], None]] = []
        for number, bucket in enumerate(buckets):
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, number))

    def send(self, tensor: Tensor) -> None:
        """Begin to sum a tensor that is complete, before all buckets; `finish` waits for it."""
        self._waits.append(begin_sum(tensor))

    def arm(self) -> None:
        """The next backward pass is the step's last: it completes buckets, and each is sent once its turn comes."""
        self._missing = [len(bucket.parameters) for bucket in self._buckets]

    def finish(self, *, buckets: bool) -> None:
        """Wait for all sums of the step; `buckets`: after sending those that no backward pass of this rank has
        completed, the same on all ranks. On a GPU its stream waits, not the host."""
        self._missing = None
        while buckets and self._sent < len(self._buckets):
            self._send_next()
        for wait in self._waits:
            wait()
        self._sent, self._waits = 0, []

    def _arrived(self, number: int, _parameter: Tensor) -> None:
        if self._missing is None:
            return
        self._missing[number] -= 1
        while self._sent < len(self._buckets) and not self._missing[self._sent]:
            self._send_next()

    def _send_next(self) -> None:
        span = self._buckets[self._sent].span
        self._collect(span)
        self.send(self._flat[span])
        self._sent += 1
