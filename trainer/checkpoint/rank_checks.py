"""Checks that a rank's arrays in a checkpoint have shapes, types and values that a run over these items writes.

Without them, restoring would broadcast tensors of other shapes silently, write to rows that are not there, or look up
vectors that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.checkpoint.files import ResumeError
from trainer.encode.plan import NEVER

_INTEGERS = (torch.int32, torch.int64)


def check_table(table: Mapping[str, Tensor], name: str, shape: torch.Size, step: int) -> None:
    """ResumeError unless rows are ascending rows of V, with one step before `step` and one vector each. `shape`:
    (V, D)."""
    row_R = table["row_R"]
    _check_rows(row_R, f"{name} row_R", shape)
    _check_steps(table["last_encode_R"], row_R, f"{name} last_encode_R", step)
    _check_vectors(table["vector_RD"], row_R, f"{name} vector_RD", shape)
    if "waiting_row_Q" in table:
        _check_rows(table["waiting_row_Q"], f"{name} waiting_row_Q", shape)
        _check_vectors(table["waiting_QD"], table["waiting_row_Q"], f"{name} waiting_QD", shape)


def check_planner(planner: Mapping[str, Tensor], name: str, shape: torch.Size, step: int) -> None:
    """ResumeError unless waiting gradients and open chunks are of rows of V and of steps before `step`."""
    if "since_row_S" in planner:
        _check_rows(planner["since_row_S"], f"{name} since_row_S", shape)
        _check_steps(planner["since_S"], planner["since_row_S"], f"{name} since_S", step)
    if "waiting_since_V" in planner:
        _check_full_steps(planner["waiting_since_V"], f"{name} waiting_since_V", shape, step)
    _check(not any(array.is_floating_point() for array in planner.values()), f"{name} chunks", planner["chunk_rows"])
    rows, size, items = (planner[f"chunk_{kind}"] for kind in ("rows", "size", "items"))
    _check(bool(((rows >= 0) & (rows < shape[0])).all()), f"{name} chunk_rows", rows)
    _check(bool(((items >= 0) & (items <= size)).all()) and int(size.sum()) == len(rows), f"{name} chunks", size)


def check_full_arrays(table: Mapping[str, Tensor], name: str, shape: torch.Size, step: int) -> None:
    """The same for a table of an older feedloop, which holds every row of V."""
    for part in ("vector_VD", "waiting_VD"):
        if part in table:
            fits = table[part].shape == shape and table[part].is_floating_point()
            _check(fits, f"{name} {part}", table[part])
    _check_full_steps(table["last_encode_V"], f"{name} last_encode_V", shape, step)


def _check_rows(rows: Tensor, what: str, shape: torch.Size) -> None:
    fits = rows.dim() == 1 and rows.dtype == torch.int64
    _check(fits and bool((rows.diff() > 0).all()), what, rows)
    _check(len(rows) == 0 or (int(rows[0]) >= 0 and int(rows[-1]) < shape[0]), what, rows)


def _check_steps(steps: Tensor, rows: Tensor, what: str, step: int) -> None:
    fits = steps.shape == rows.shape and steps.dtype in _INTEGERS
    _check(fits and bool(((steps >= 0) & (steps < step)).all()), what, steps)


def _check_full_steps(steps_V: Tensor, what: str, shape: torch.Size, step: int) -> None:
    fits = steps_V.shape == shape[:1] and steps_V.dtype in _INTEGERS
    _check(fits and bool(((steps_V >= NEVER) & (steps_V < step)).all()), what, steps_V)


def _check_vectors(vectors: Tensor, rows: Tensor, what: str, shape: torch.Size) -> None:
    _check(vectors.shape == (len(rows), shape[1]) and vectors.is_floating_point(), what, vectors)


def _check(fits: bool, what: str, tensor: Tensor) -> None:
    if not fits:
        fault = f"{what} of shape {tuple(tensor.shape)} and type {str(tensor.dtype).removeprefix('torch.')}"
        raise ResumeError(f"the checkpoint is damaged: {fault} does not fit this run. Use another one, or train again")
