"""VectorTable: item vectors on the device, by item row; encodes what a plan says, sends each item its gradient once.

refresh -> read -> (head forward, backward) -> settle -> stage -> (optimisers) -> commit. A step is atomic: until
commit, the table holds what it held before, and commit asks for no memory, for it comes when there is no way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.encode.chunks import Chunk, Encode, IntArray, seeded
from trainer.encode.plan import Plan


@dataclass(slots=True)
class _Run:
    """One encoded chunk; `output_CD` still holds its graph where it was kept."""

    chunk: Chunk
    output_CD: Tensor


@dataclass(slots=True)
class _Staged:
    """What a step is to change in the table: all of it lies on the device already."""

    vectors: list[tuple[Tensor, Tensor]]
    """(rows, what they become)"""
    clear: Tensor | None = None
    """rows whose gradients no longer wait"""
    keep: tuple[Tensor, Tensor, float] | None = None
    """(rows, gradients that wait from now on, their factor)"""


class VectorTable:
    """V x D vectors with one leaf per step. Values read from the table are detached and come from earlier weights."""

    def __init__(
        self,
        encode: Encode,
        *,
        rows: int,
        width: int,
        device: torch.device,
        kept_chunks: int | None = None,
        dtype: torch.dtype = torch.float32,
        exchange: Callable[[Tensor], None] = lambda _: None,
    ) -> None:
        """`kept_chunks`: how many chunks keep their graph until settle; the rest are replayed with the same seed,
        which bounds memory for a third more work. None = all. `exchange` sums a tensor over ranks, in place, where a
        plan shares encoding."""
        self._encode = encode
        self._exchange = exchange
        self._device = device
        self._kept_chunks = kept_chunks
        self.vector_VD = torch.zeros(rows, width, device=device, dtype=dtype)
        self.waiting_VD: Tensor | None = None  # gradients that outlive their step; made when a plan first keeps one
        self._runs: list[_Run] = []
        self._leaf_ND: Tensor | None = None
        self._staged: _Staged | None = None

    def refresh(self, plan: Plan) -> None:
        """Encode the plan's chunks and stage their vectors. A chunk that is not back-propagated needs no graph."""
        kept = len(plan.backward) if self._kept_chunks is None else self._kept_chunks
        keeping = {id(chunk) for chunk in plan.backward[:kept]}
        self._runs = [_Run(chunk, self._encoded(chunk, with_graph=id(chunk) in keeping)) for chunk in plan.encode]

    def read(self, plan: Plan) -> Tensor:
        """The leaf (N, D) of the plan's rows: staged vectors where encoded in this step, the table's otherwise."""
        if plan.exchanged is None and plan.encoded == len(plan.rows_N):
            leaf_ND = self.vector_VD.new_empty(len(plan.rows_N), self.vector_VD.shape[1])
        else:
            leaf_ND = self.vector_VD[self._index(plan.rows_N)]
        for run in self._runs:
            leaf_ND[self._index(run.chunk.slots)] = run.output_CD.detach()[: run.chunk.items]
        if plan.exchanged is not None:
            self._exchange_vectors(plan, plan.exchanged, leaf_ND)
        self._leaf_ND = leaf_ND.requires_grad_()
        return self._leaf_ND

    def backward_encoder(self, plan: Plan, count: float) -> None:
        """Send each chunk of plan.backward its items' summed gradients, once. `count`: the step's, over all ranks."""
        if plan.exchanged is not None:
            self._exchange_gradients(plan.exchanged)
        if not plan.backward:
            return
        gradient_ND = self._due(plan, count)
        for chunk in plan.backward:
            output_CD = self._graph_of(chunk)
            gradient_CD = torch.zeros_like(output_CD)
            gradient_CD[: chunk.items] = gradient_ND[self._index(chunk.slots)]
            torch.autograd.backward(output_CD, gradient_CD)

    def stage(self, plan: Plan, count: float) -> None:
        """Before the optimisers: take the memory that commit needs. `count`: as in settle."""
        staged = _Staged([])
        for run in self._runs:
            rows = run.chunk.rows_C[: run.chunk.items]
            staged.vectors.append((self._index(rows), run.output_CD.detach()[: len(rows)]))
        if plan.exchanged is not None and self._leaf_ND is not None:
            exchanged = self._index(plan.rows_N[plan.exchanged])
            staged.vectors.append((exchanged, self._leaf_ND.detach()[self._index(plan.exchanged)]))
        self._stage_waiting(plan, count, staged)
        self._staged = staged

    @torch.no_grad()
    def commit(self) -> None:
        """After the optimisers: staged vectors become the table's, what is to wait waits, and graphs are let go."""
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
        """Let go of a step, completed or not: its graphs, the leaf, and what was staged."""
        self._runs, self._leaf_ND, self._staged = [], None, None

    @property
    def kept_chunks(self) -> int | None:
        """How many chunks keep their graph; None = all."""
        return self._kept_chunks

    def keep_fewer_chunks(self, chunks: int) -> bool:
        """Halve what is kept of `chunks`; False where none is left to give up. No result depends on it."""
        now = chunks if self._kept_chunks is None else min(chunks, self._kept_chunks)
        self._kept_chunks = now // 2
        return now > 0

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the vectors and waiting gradients as of the last commit."""
        state = {"vector_VD": self.vector_VD.clone()}
        return state if self.waiting_VD is None else {**state, "waiting_VD": self.waiting_VD.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self.vector_VD.copy_(state["vector_VD"])
        waiting = state.get("waiting_VD")
        self.waiting_VD = None if waiting is None else waiting.to(self.vector_VD, copy=True)

    def _exchange_vectors(self, plan: Plan, exchanged: IntArray, leaf_ND: Tensor) -> None:
        """What other ranks encoded comes into the leaf: each adds zeros for what it did not."""
        own = np.concatenate([np.zeros(0, np.int64), *(chunk.slots for chunk in plan.encode)])
        theirs = self._index(np.setdiff1d(exchanged, own))
        leaf_ND[theirs] = 0
        slots = self._index(exchanged)
        fresh_ED = leaf_ND[slots]
        self._exchange(fresh_ED)
        leaf_ND[slots] = fresh_ED

    def _exchange_gradients(self, exchanged: IntArray) -> None:
        """Each item's gradient summed over ranks, for the one that encoded it."""
        assert self._leaf_ND is not None, "settle comes after read"
        slots, gradient_ND = self._index(exchanged), self._leaf_gradient()
        gradient_ED = gradient_ND[slots]
        self._exchange(gradient_ED)
        gradient_ND[slots] = gradient_ED
        self._leaf_ND.grad = gradient_ND

    def _leaf_gradient(self) -> Tensor:
        assert self._leaf_ND is not None, "settle and commit come after read and the head's backward"
        gradient_ND = self._leaf_ND.grad
        return torch.zeros_like(self._leaf_ND) if gradient_ND is None else gradient_ND

    def _due(self, plan: Plan, count: float) -> Tensor:
        """The leaf's gradient (N, D), with what waited for the rows that are collected."""
        gradient_ND = self._leaf_gradient()
        if plan.waiting is None or self.waiting_VD is None:
            return gradient_ND
        slots = self._index(plan.waiting.collect_N.nonzero()[0])
        waited = self.waiting_VD[self._index(plan.rows_N)[slots]]
        return gradient_ND.index_add(0, slots, waited, alpha=count if plan.waiting.per_count else 1.0)

    def _stage_waiting(self, plan: Plan, count: float, staged: _Staged) -> None:
        if plan.waiting is None or (plan.waiting.per_count and count <= 0):  # no update: nothing was taken along
            return
        if self.waiting_VD is None:
            self.waiting_VD = torch.zeros_like(self.vector_VD)
        rows = self._index(plan.rows_N)
        staged.clear = rows[self._index(plan.waiting.clear_N.nonzero()[0])]
        slots = self._index(plan.waiting.keep_N.nonzero()[0])
        staged.keep = (rows[slots], self._leaf_gradient()[slots], 1 / count if plan.waiting.per_count else 1.0)

    def _encoded(self, chunk: Chunk, *, with_graph: bool) -> Tensor:
        with seeded(chunk.seed, self._device), torch.set_grad_enabled(with_graph):
            return self._encode(chunk.rows_C).to(self.vector_VD.dtype)

    def _graph_of(self, chunk: Chunk) -> Tensor:
        """The chunk's output with its graph: kept, or made again by replay with the chunk's seed."""
        for run in self._runs:
            if run.chunk is chunk and run.output_CD.requires_grad:
                return run.output_CD
        return self._encoded(chunk, with_graph=True)

    def _index(self, rows: IntArray) -> Tensor:
        """Host integers on the device; from pinned memory to a GPU, so that nothing waits for it."""
        index = torch.from_numpy(np.asarray(rows, np.int64))
        return index.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else index
