"""The table of item vectors on the device: encodes what a plan says and back-propagates each item's gradient once.

A step calls refresh -> read -> (head forward, backward) -> backward_encoder -> stage -> (optimisers) -> commit. It is
atomic: the table does not change before commit, and commit allocates no memory, since it follows the optimisers.
Nothing here reads a number from the device: all integers come with the step, as tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.encode.chunks import Chunk, Encode, seeded
from trainer.encode.cutting import IntArray
from trainer.encode.placed import PlacedPlan


@dataclass(slots=True)
class _Staged:
    """The changes that a step makes to the table, already on the device."""

    vectors: list[tuple[Tensor, Tensor]]
    """(rows, their new vectors)"""
    clear: tuple[Tensor, Tensor] | None = None
    """(rows, their waiting gradients after removal: 0)"""
    keep: tuple[Tensor, Tensor] | None = None
    """(rows, gradients added to their waiting ones)"""


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
        waits: bool = False,
        exchange: Callable[[Tensor], None] | None = None,
    ) -> None:
        """`kept_chunks`: how many chunks keep their graph until `backward_encoder`; None = all. The others are encoded
        again with the same seed, which bounds memory for a third more work. `waits`: gradients may outlive their step.
        `exchange` sums a tensor over ranks, in place; plans that share encoding need it."""
        self._encode, self._exchange = encode, exchange
        self._device = device
        self._kept_chunks = kept_chunks
        self.vector_VD = torch.zeros(rows, width, device=device, dtype=dtype)
        self.waiting_VD = torch.zeros_like(self.vector_VD) if waits else None  # gradients that outlive their step
        self._fresh: dict[int, Tensor] = {}  # a chunk's seed -> its vectors (C, D), with their graph if it is kept
        self._fresh_ED: Tensor | None = None  # the same without padding and graphs
        self._leaf_ND: Tensor | None = None
        self._staged: _Staged | None = None

    def refresh(self, step: PlacedPlan) -> None:
        """Encodes the plan's chunks. Only the kept ones among those back-propagated in this step hold a graph."""
        plan = step.plan
        kept = len(plan.backward) if self._kept_chunks is None else self._kept_chunks
        with_graph = {chunk.seed for chunk in plan.backward[:kept]}
        self._fresh = {
            chunk.seed: self._encode_chunk(step, chunk, with_graph=chunk.seed in with_graph) for chunk in plan.encode
        }

    def read(self, step: PlacedPlan) -> Tensor:
        """The leaf (N, D) of the plan's rows: fresh vectors for rows encoded in this step, else those of the table."""
        plan, index = step.plan, step.index
        if plan.exchanged is None and plan.encoded == len(plan.rows_N):
            leaf_ND = self.vector_VD.new_empty(len(plan.rows_N), self.vector_VD.shape[1])
        else:
            leaf_ND = self.vector_VD[index["rows_N"]]
        if plan.encode:
            fresh = [self._fresh[chunk.seed].detach()[: chunk.items] for chunk in plan.encode]
            self._fresh_ED = torch.cat(fresh)
            leaf_ND.index_copy_(0, index["fresh_slot_E"], self._fresh_ED)
        if plan.exchanged is not None:
            self._exchange_vectors(step, leaf_ND)
        self._leaf_ND = leaf_ND.requires_grad_()
        return self._leaf_ND

    def backward_encoder(self, step: PlacedPlan, count: float) -> None:
        """Back-propagates each chunk of plan.backward once, with its items' summed gradients from the leaf.

        `count`: sum of the step's target weights over all ranks.
        """
        if step.plan.exchanged is not None:
            self._exchange_gradients(step)
        if not step.plan.backward:
            return
        gradient_ND = self._with_collected(step, count)
        gradient_ND = torch.cat([gradient_ND, gradient_ND.new_zeros(1, gradient_ND.shape[1])])  # the last: of padding
        for number, chunk in enumerate(step.plan.backward):
            gradient_CD = gradient_ND[step.index[f"backward_{number}_C"]]
            self._encode.backward(self._graph_of(step, chunk), gradient_CD, last=chunk is step.plan.backward[-1])

    @torch.no_grad()
    def stage(self, step: PlacedPlan, count: float, finite: Tensor) -> None:
        """Called before the optimisers: allocates all that commit needs. `count`: as in backward_encoder. `finite`: on
        the device; where it is False, commit will change nothing."""
        plan, index = step.plan, step.index
        staged = _Staged([])
        if self._fresh_ED is not None:
            staged.vectors.append(self._new_vectors(index["fresh_row_E"], self._fresh_ED, finite))
        if plan.exchanged is not None and self._leaf_ND is not None:
            vectors = self._leaf_ND.detach()[index["exchanged_X"]]
            staged.vectors.append(self._new_vectors(index["exchanged_row_X"], vectors, finite))
        self._stage_waiting(step, count, finite, staged)
        self._staged = staged

    @torch.no_grad()
    def commit(self) -> None:
        """Called after the optimisers: writes the staged vectors and waiting gradients, and frees the graphs."""
        assert self._staged is not None, "commit comes after stage"
        for rows, vectors in self._staged.vectors:
            self.vector_VD.index_copy_(0, rows, vectors)
        if self.waiting_VD is not None and self._staged.clear is not None:
            self.waiting_VD.index_copy_(0, *self._staged.clear)
        if self.waiting_VD is not None and self._staged.keep is not None:
            self.waiting_VD.index_add_(0, *self._staged.keep)
        self.abandon()

    def abandon(self) -> None:
        """Frees a step's graphs, leaf and staged changes, whether the step is complete or not."""
        self._fresh, self._fresh_ED, self._leaf_ND, self._staged = {}, None, None, None

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
        row_R = torch.from_numpy(rows_R).to(self.vector_VD.device)
        state = {"row_R": row_R, "vector_RD": self.vector_VD[row_R]}
        if self.waiting_VD is None:
            return state
        blocks = self.waiting_VD.split(1 << 14)  # a mask of V x D would take much memory
        row_Q = torch.cat([block_RD.ne(0).any(1) for block_RD in blocks]).nonzero()[:, 0]
        return {**state, "waiting_row_Q": row_Q, "waiting_QD": self.waiting_VD[row_Q]}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resumes from `state`; the vectors of all other rows are 0, and gradients wait for none of them."""
        self.vector_VD.zero_()
        self.vector_VD[state["row_R"].to(self.vector_VD.device)] = state["vector_RD"].to(self.vector_VD)
        if self.waiting_VD is not None:
            self.waiting_VD.zero_()
            if "waiting_row_Q" in state:
                row_Q = state["waiting_row_Q"].to(self.vector_VD.device)
                self.waiting_VD[row_Q] = state["waiting_QD"].to(self.waiting_VD)

    def _new_vectors(self, rows: Tensor, vectors: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
        return rows, torch.where(finite, vectors, self.vector_VD[rows])

    def _exchange_vectors(self, step: PlacedPlan, leaf_ND: Tensor) -> None:
        """Fills the leaf with the vectors that other ranks encoded: a sum in which each rank adds zeros for these."""
        leaf_ND.index_fill_(0, step.index["theirs_X"], 0)
        slots = step.index["exchanged_X"]
        fresh_ED = leaf_ND[slots]
        self._sum_over_ranks(fresh_ED)
        leaf_ND.index_copy_(0, slots, fresh_ED)

    def _exchange_gradients(self, step: PlacedPlan) -> None:
        """Sums each exchanged item's leaf gradient over ranks, for the rank that encoded it."""
        assert self._leaf_ND is not None, "backward_encoder comes after read"
        slots, gradient_ND = step.index["exchanged_X"], self._leaf_gradient()
        gradient_ED = gradient_ND[slots]
        self._sum_over_ranks(gradient_ED)
        gradient_ND.index_copy_(0, slots, gradient_ED)
        self._leaf_ND.grad = gradient_ND

    def _sum_over_ranks(self, tensor: Tensor) -> None:
        assert self._exchange is not None, "plans that share encoding need an exchange"
        self._exchange(tensor)

    def _leaf_gradient(self) -> Tensor:
        assert self._leaf_ND is not None, "backward_encoder and stage come after read and the head's backward"
        gradient_ND = self._leaf_ND.grad
        return torch.zeros_like(self._leaf_ND) if gradient_ND is None else gradient_ND

    def _with_collected(self, step: PlacedPlan, count: float) -> Tensor:
        """The leaf's gradient (N, D) plus the waiting gradients that the plan collects."""
        gradient_ND, waiting = self._leaf_gradient(), step.plan.waiting
        if waiting is None or self.waiting_VD is None:
            return gradient_ND
        waited = self.waiting_VD[step.index["collect_row"]]
        return gradient_ND.index_add(0, step.index["collect_slot"], waited, alpha=count if waiting.per_count else 1.0)

    def _stage_waiting(self, step: PlacedPlan, count: float, finite: Tensor, staged: _Staged) -> None:
        waiting, index = step.plan.waiting, step.index
        if waiting is None or (waiting.per_count and count <= 0):  # no update: no gradient was collected
            return
        assert self.waiting_VD is not None, "the policy's gradients wait: make the table with `waits`"
        cleared = self.waiting_VD[index["clear_row"]]
        staged.clear = (index["clear_row"], torch.where(finite, torch.zeros_like(cleared), cleared))
        kept = self._leaf_gradient()[index["keep_slot"]]
        kept = kept * (1 / count) if waiting.per_count else kept
        staged.keep = (index["keep_row"], torch.where(finite, kept, torch.zeros_like(kept)))

    def _encode_chunk(self, step: PlacedPlan, chunk: Chunk, *, with_graph: bool) -> Tensor:
        with seeded(chunk.seed, self._device), torch.set_grad_enabled(with_graph):
            return self._encode(step.inputs[chunk.seed]).to(self.vector_VD.dtype)

    def _graph_of(self, step: PlacedPlan, chunk: Chunk) -> Tensor:
        """The chunk's vectors with their graph: the kept one, or a replay with the chunk's seed."""
        fresh = self._fresh.get(chunk.seed)
        return fresh if fresh is not None and fresh.requires_grad else self._encode_chunk(step, chunk, with_graph=True)
