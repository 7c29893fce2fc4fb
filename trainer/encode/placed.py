"""A plan with its integers as tensors on the device, made by the loader so that a step decides nothing on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from trainer.encode.chunks import Chunk, ChunkInput
from trainer.encode.cutting import IntArray
from trainer.encode.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPlan:
    """One rank's plan of one step, ready on the device."""

    plan: Plan
    index: Mapping[str, Tensor]
    """as `index_arrays`"""
    inputs: Mapping[int, ChunkInput]
    """the encoder's input of each chunk of `chunks_used`, by the chunk's seed"""


def chunks_used(plan: Plan) -> list[Chunk]:
    """The chunks whose input a step may need: those it encodes, and those it may replay."""
    return list({chunk.seed: chunk for chunk in (*plan.backward, *plan.encode)}.values())


def index_arrays(plan: Plan) -> dict[str, IntArray]:
    """The positions that a VectorTable reads and writes in a step. E: items encoded, X: those exchanged over ranks."""
    none = np.zeros(0, np.int64)
    found = {
        "rows_N": plan.rows_N,
        "fresh_slot_E": np.concatenate([none, *(chunk.slots for chunk in plan.encode)]),
        "fresh_row_E": np.concatenate([none, *(chunk.item_rows for chunk in plan.encode)]),
    }
    for number, chunk in enumerate(plan.backward):
        slot_C = np.full(len(chunk.rows_C), len(plan.rows_N))  # padding points behind the last row
        slot_C[: chunk.items] = chunk.slots
        found[f"backward_{number}_C"] = slot_C
    if plan.exchanged is not None:
        found["exchanged_X"], found["exchanged_row_X"] = plan.exchanged, plan.rows_N[plan.exchanged]
        found["theirs_X"] = np.setdiff1d(plan.exchanged, found["fresh_slot_E"])
    if plan.waiting is not None:
        collect, keep = np.flatnonzero(plan.waiting.collect_N), np.flatnonzero(plan.waiting.keep_N)
        found |= {"collect_slot": collect, "collect_row": plan.rows_N[collect]}
        found |= {"keep_slot": keep, "keep_row": plan.rows_N[keep]}
        found["clear_row"] = plan.rows_N[plan.waiting.clear_N]
    return {name: np.asarray(array, np.int64) for name, array in found.items()}
