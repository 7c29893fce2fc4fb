"""The table of item vectors on the device: encodes what a plan says and back-propagates each item's gradient once.

A step calls refresh -> read -> (head forward, backward) -> backward_encoder -> stage -> (optimisers) -> commit. It is
atomic: the table does not change before commit, and commit allocates no memory, since it follows the optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.encode.chunks import Chunk, Encode, IntArray, seeded
from trainer.encode.plan import Plan


@dataclass(slots=True)
class _EncodedChunk:
    """A chunk and its vectors; `output_CD` has its autograd graph if the chunk is one of the kept ones."""

    chunk: Chunk
    output_CD: Tensor


@dataclass(slots=True)
class _Staged:
    """The changes that a step makes to the table, already on the device."""

    vectors: list[tuple[Tensor, Tensor]]
    """(rows, their new vectors)"""
    clear: Tensor | None = None
    """rows whose waiting gradients are removed"""
    keep: tuple[Tensor, Tensor, float] | None = None
    """(rows, gradients added to their waiting ones, factor)"""


class VectorTable:
    """V x D vectors, and one autograd leaf per step. Looked-up vectors are detached and come from earlier weights."""

    def __init__(
        self,
        encode: Encode,
        *,
        rows: int,
        width: int,
        device: torch.device,
        kept_chunks: int | None = None,
        dtype: torch.dtype = torch.float32,
        exchange: Callable[[Tensor], None] | None = None,
    ) -> None:
        """`kept_chunks`: how many chunks keep their graph until `backward_encoder`; None = all. The others are encoded
        again with the same seed, which bounds memory for a third more work. `exchange` sums a tensor over ranks, in
        place; plans that share encoding need it."""
        self._encode = encode
        self._exchange = exchange
        self._device = device
        self._kept_chunks = kept_chunks
        self.vector_VD = torch.zeros(rows, width, device=device, dtype=dtype)
        self.waiting_VD: Tensor | None = None  # gradients that outlive their step; allocated when first needed
        self._fresh: list[_EncodedChunk] = []
        self._leaf_ND: Tensor | None = None
        self._staged: _Staged | None = None

    def refresh(self, plan: Plan) -> None:
        """Encodes the plan's chunks. Only the kept ones among those back-propagated in this step hold a graph."""
        kept = len(plan.backward) if self._kept_chunks is None else self._kept_chunks
        with_graph = {id(chunk) for chunk in plan.backward[:kept]}
        self._fresh = [
            _EncodedChunk(chunk, self._encode_chunk(chunk, with_graph=id(chunk) in with_graph)) for chunk in plan.encode
        ]

    def read(self, plan: Plan) -> Tensor:
        """The leaf (N, D) of the plan's rows: fresh vectors for rows encoded in this step, else those of the table."""
        if plan.exchanged is None and plan.encoded == len(plan.rows_N):
            leaf_ND = self.vector_VD.new_empty(len(plan.rows_N), self.vector_VD.shape[1])
        else:
            leaf_ND = self.vector_VD[self._index(plan.rows_N)]
        for fresh in self._fresh:
            leaf_ND[self._index(fresh.chunk.slots)] = fresh.output_CD.detach()[: fresh.chunk.items]
        if plan.exchanged is not None:
            self._exchange_vectors(plan, plan.exchanged, leaf_ND)
        self._leaf_ND = leaf_ND.requires_grad_()
        return self._leaf_ND

    def backward_encoder(self, plan: Plan, count: float) -> None:
        """Back-propagates each chunk of plan.backward once, with its items' summed gradients from the leaf.

        `count`: sum of the step's target weights over all ranks.
        """
        if plan.exchanged is not None:
            self._exchange_gradients(plan.exchanged)
        if not plan.backward:
            return
        gradient_ND = self._with_collected(plan, count)
        for chunk in plan.backward:
            output_CD = self._graph_of(chunk)
            gradient_CD = torch.zeros_like(output_CD)
            gradient_CD[: chunk.items] = gradient_ND[self._index(chunk.slots)]
            torch.autograd.backward(output_CD, gradient_CD)

    def stage(self, plan: Plan, count: float) -> None:
        """Called before the optimisers: allocates all that commit needs. `count`: as in backward_encoder."""
        staged = _Staged([])
        for fresh in self._fresh:
            rows = fresh.chunk.item_rows
            staged.vectors.append((self._index(rows), fresh.output_CD.detach()[: len(rows)]))
        if plan.exchanged is not None and self._leaf_ND is not None:
            exchanged = self._index(plan.rows_N[plan.exchanged])
            staged.vectors.append((exchanged, self._leaf_ND.detach()[self._index(plan.exchanged)]))
        self._stage_waiting(plan, count, staged)
        self._staged = staged

    @torch.no_grad()
    def commit(self) -> None:
        """Called after the optimisers: writes the staged vectors and waiting gradients, and frees the graphs."""
        assert self._staged is not None, "commit comes after stage"
        for rows, vectors in self._staged.vectors:
            self.vector_VD.index_copy_(0, rows, vectors)
        if self.waiting_VD is not None and self._staged.clear is not None:
            self.waiting_VD.index_fill_(0, self._staged.clear, 0)
        if self.waiting_VD is not None and self._staged.keep is not None:
            rows, gradients, factor = self._staged.keep
            self.waiting_VD.index_add_(0, rows, gradients, alpha=factor)
        self.abandon()

    def abandon(self) -> None:
        """Frees a step's graphs, leaf and staged changes, whether the step is complete or not."""
        self._fresh, self._leaf_ND, self._staged = [], None, None

    @property
    def kept_chunks(self) -> int | None:
        """How many chunks keep their graph; None = all."""
        return self._kept_chunks

    def keep_fewer_chunks(self, chunks: int) -> bool:
        """Halves how many of `chunks` keep their graph; False if none did. Changes memory and time, not results."""
        kept = chunks if self._kept_chunks is None else min(chunks, self._kept_chunks)
        self._kept_chunks = kept // 2
        return kept > 0

    def state_dict(self, rows_R: IntArray) -> dict[str, Tensor]:
        """Copies as of the last commit, for a checkpoint: the vectors of `rows_R`, and all gradients that wait."""
        row_R = self._index(rows_R)
        state = {"row_R": row_R, "vector_RD": self.vector_VD[row_R]}
        if self.waiting_VD is None:
            return state
        waits_V = torch.cat(
            [block_RD.ne(0).any(1) for block_RD in self.waiting_VD.split(1 << 14)]
        )  # no copy of its size
        row_Q = waits_V.nonzero()[:, 0]
        return {**state, "waiting_row_Q": row_Q, "waiting_QD": self.waiting_VD[row_Q]}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resumes from `state`; the vectors of all other rows are 0."""
        self.vector_VD.zero_()
        self.vector_VD[state["row_R"].to(self._device)] = state["vector_RD"].to(self.vector_VD)
        self.waiting_VD = None
        if "waiting_row_Q" in state:
            self.waiting_VD = torch.zeros_like(self.vector_VD)
            self.waiting_VD[state["waiting_row_Q"].to(self._device)] = state["waiting_QD"].to(self.vector_VD)

    def _exchange_vectors(self, plan: Plan, exchanged: IntArray, leaf_ND: Tensor) -> None:
        """Fills the leaf with the vectors that other ranks encoded: a sum in which each rank adds zeros for these."""
        own = np.concatenate([np.zeros(0, np.int64), *(chunk.slots for chunk in plan.encode)])
        theirs = self._index(np.setdiff1d(exchanged, own))
        leaf_ND[theirs] = 0
        slots = self._index(exchanged)
        fresh_ED = leaf_ND[slots]
        self._sum_over_ranks(fresh_ED)
        leaf_ND[slots] = fresh_ED

    def _exchange_gradients(self, exchanged: IntArray) -> None:
        """Sums each exchanged item's leaf gradient over ranks, for the rank that encoded it."""
        assert self._leaf_ND is not None, "backward_encoder comes after read"
        slots, gradient_ND = self._index(exchanged), self._leaf_gradient()
        gradient_ED = gradient_ND[slots]
        self._sum_over_ranks(gradient_ED)
        gradient_ND[slots] = gradient_ED
        self._leaf_ND.grad = gradient_ND

    def _sum_over_ranks(self, tensor: Tensor) -> None:
        assert self._exchange is not None, "plans that share encoding need an exchange"
        self._exchange(tensor)

    def _leaf_gradient(self) -> Tensor:
        assert self._leaf_ND is not None, "backward_encoder and stage come after read and the head's backward"
        gradient_ND = self._leaf_ND.grad
        return torch.zeros_like(self._leaf_ND) if gradient_ND is None else gradient_ND

    def _with_collected(self, plan: Plan, count: float) -> Tensor:
        """The leaf's gradient (N, D) plus the waiting gradients that the plan collects."""
        gradient_ND = self._leaf_gradient()
        if plan.waiting is None or self.waiting_VD is None:
            return gradient_ND
        slots = self._index(plan.waiting.collect_N.nonzero()[0])
        waited = self.waiting_VD[self._index(plan.rows_N)[slots]]
        return gradient_ND.index_add(0, slots, waited, alpha=count if plan.waiting.per_count else 1.0)

    def _stage_waiting(self, plan: Plan, count: float, staged: _Staged) -> None:
        if plan.waiting is None or (plan.waiting.per_count and count <= 0):  # no update: no gradient was collected
            return
        if self.waiting_VD is None:
            self.waiting_VD = torch.zeros_like(self.vector_VD)
        rows = self._index(plan.rows_N)
        staged.clear = rows[self._index(plan.waiting.clear_N.nonzero()[0])]
        slots = self._index(plan.waiting.keep_N.nonzero()[0])
        staged.keep = (rows[slots], self._leaf_gradient()[slots], 1 / count if plan.waiting.per_count else 1.0)

    def _encode_chunk(self, chunk: Chunk, *, with_graph: bool) -> Tensor:
        with seeded(chunk.seed, self._device), torch.set_grad_enabled(with_graph):
            return self._encode(chunk.rows_C).to(self.vector_VD.dtype)

    def _graph_of(self, chunk: Chunk) -> Tensor:
        """The chunk's vectors with their graph: the kept one, or a replay with the chunk's seed."""
        for fresh in self._fresh:
            if fresh.chunk is chunk and fresh.output_CD.requires_grad:
                return fresh.output_CD
        return self._encode_chunk(chunk, with_graph=True)

    def _index(self, rows: IntArray) -> Tensor:
        """Host integers as an index on the device; copied from pinned memory to a GPU, so that the host never waits."""
        index = torch.from_numpy(np.asarray(rows, np.int64))
        return index.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else index
