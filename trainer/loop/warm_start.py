"""Warm start: a new run continues an earlier checkpoint, on a token table that has grown since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemas.token_table import TokenTable
from trainer.checkpoint.files import Checkpoint, ResumeError, checkpoint_errors, load_checkpoint
from trainer.checkpoint.rank_state import freshest_rows
from trainer.checkpoint.retention import resolve_checkpoint
from trainer.checkpoint.selection import choices_of
from trainer.config import changed_options
from trainer.data.validation import Choice
from trainer.encode.chunks import hash64
from trainer.encode.cutting import IntArray
from trainer.encode.plan import MOST_STEPS, BoolArray
from trainer.loop.parts import Parts
from trainer.model.item_input import on_device
from trainer.optimise.optimiser import nested_optimiser
from trainer.setup.prepare import Prepared, config_of, load_weights

# Options of encoder and user model that change neither the shapes nor the meaning of the weights.
_MAY_DIFFER = {"encoder.row_tokens", "encoder.attention_dropout", "encoder.projection_start"}
_LOOKS_UP = ("cached", "carried")  # the policies that read vectors of earlier steps


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a run takes over from an earlier one: its step count, Adam's moments, and vectors that are still valid.

    Position, schedule and waiting gradients are not among them: the run has its own steps, and gradients that waited
    belong to weights that have moved on.
    """

    path: str
    first_step: int
    """the steps of all runs before, from which the planner counts on"""
    row_R: IntArray
    """item rows whose vectors are valid: of the same tokens, and young enough to be looked up in the first step"""
    vector_RD: Tensor
    last_encode_R: IntArray
    moments: Mapping[str, Any]
    """by group, as Optimiser.load_moments takes them"""
    new: int
    """item rows that the earlier token table did not have"""
    changed: int
    """item rows whose tokens are of another version than they were"""
    chosen_by: tuple[Choice, ...]
    """the impressions that chose the checkpoint"""

    def carry_into(self, parts: Parts) -> int:
        """Put all of it into the parts of a run that has taken no step; the result is `first_step`.

        ResumeError if the moments belong to other parameters or the steps exceed what a planner counts.
        """
        if self.first_step > MOST_STEPS - parts.total_steps:
            raise ResumeError(f"{self.path}: {self.first_step} steps were taken before, a planner counts {MOST_STEPS}")
        with checkpoint_errors(self.path):
            parts.optimiser.load_moments(self.moments)
        vector_VD = parts.table.vector_VD
        vector_VD.index_copy_(0, on_device(self.row_R, vector_VD.device), self.vector_RD.to(vector_VD))
        state = parts.planner.state_dict()
        state.last_encode_V[self.row_R] = self.last_encode_R
        state.window_start = self.first_step  # accumulated: an encode before it counts as one of an earlier window
        parts.planner.load_state_dict(state)
        return self.first_step


def token_identity(table: TokenTable) -> dict[str, Tensor]:
    """A checkpoint's record of its token table: for every item row a hash of its tokens, and their version."""
    start_V1 = np.asarray(table.token_start_S1)[np.asarray(table.segment_start_V1)]
    place_R = np.arange(start_V1[-1]) - np.repeat(start_V1[:-1], np.diff(start_V1))
    with np.errstate(over="ignore"):
        sums = np.cumsum(hash64(place_R, np.asarray(table.token_values).astype(np.int64)), dtype=np.uint64)
        upto_V1 = np.concatenate([np.zeros(1, np.uint64), sums])[start_V1]
        hash_V = np.diff(upto_V1).view(np.int64)
    return {"hash_V": torch.from_numpy(hash_V), "version_V": torch.from_numpy(np.array(table.tokens_version_V))}


def begin_from(prepared: Prepared, path: Path) -> WarmStart:
    """Load the weights of a checkpoint, or of the best or newest in a folder of them, into an untrained model; the
    result is what else a run takes over, for Trainer.

    ResumeError unless encoder and user model equal the checkpoint's and the token table extends its: the same rows,
    whose tokens changed only where their version changed, and perhaps more. Device, precision and the options of
    _MAY_DIFFER may be others.
    """
    checkpoint = load_checkpoint(resolve_checkpoint(path))
    architecture = [
        change
        for change in changed_options(config_of(checkpoint), prepared.config)
        if change.startswith(("encoder.", "user.")) and change.partition(" ")[0] not in _MAY_DIFFER
    ]
    if architecture:
        raise ResumeError(f"{path}: the checkpoint's model is another: {'; '.join(architecture)}")
    with checkpoint_errors(checkpoint.path):
        same_V, changed = _growth(checkpoint, prepared, path)
        position = checkpoint.state["position"]
        first_step = int(position.get("first_step", 0)) + int(position["step"])
        row_R, vector_RD, last_encode_R = _valid_vectors(checkpoint, prepared, same_V, first_step)
        moments = nested_optimiser(checkpoint.tensors["optimiser"], checkpoint.state["optimiser"])["groups"]
    load_weights(prepared.model, checkpoint)
    return WarmStart(
        path=str(checkpoint.path),
        first_step=first_step,
        row_R=row_R,
        vector_RD=vector_RD,
        last_encode_R=last_encode_R,
        moments=moments,
        new=prepared.directory.manifest.tokens.rows - len(same_V),
        changed=changed,
        chosen_by=tuple(choices_of(checkpoint) or ()),
    )


def _growth(checkpoint: Checkpoint, prepared: Prepared, path: Path) -> tuple[BoolArray, int]:
    """(which of the checkpoint's item rows have the same tokens now, how many have a later version)."""
    tokens = prepared.directory.manifest.tokens
    data = checkpoint.state["data"]
    if not tokens.match_tokenizer(data["tokenizer_sha256"], data.get("tokenizer_content", "")):
        raise ResumeError(f"{path}: the checkpoint's tokens are of another tokenizer than {tokens.tokenizer!r}")
    then, now = checkpoint.tensors["tokens"], token_identity(prepared.directory.token_table())
    rows = len(then["hash_V"])
    if then["hash_V"].shape != then["version_V"].shape:
        raise ResumeError(f"{path}: the checkpoint is damaged: {rows} item rows, {len(then['version_V'])} versions")
    if rows > tokens.rows:
        raise ResumeError(f"{path}: the checkpoint has {rows} item rows, the token table only {tokens.rows}")
    hash_V, version_V = now["hash_V"][:rows], now["version_V"][:rows]
    there_V = hash_V != 0  # 0 = no tokens: another source's item, which an older feedloop packed with tokens
    unchanged_V = (version_V == then["version_V"]) | ~there_V
    same_V = (version_V == then["version_V"]) & (hash_V == then["hash_V"])
    other = int((unchanged_V & there_V & ~same_V).sum() + (version_V < then["version_V"]).sum())
    if other:
        raise ResumeError(
            f"{path}: the token table does not extend the checkpoint's: {other} of its {rows} rows hold other news. "
            "Name a directory packed from the same lake"
        )
    return same_V.numpy(), int((~unchanged_V).sum())


def _valid_vectors(
    checkpoint: Checkpoint, prepared: Prepared, same_V: BoolArray, first_step: int
) -> tuple[IntArray, Tensor, IntArray]:
    """(item rows, their vectors, their last encodes): what the planner of the new run can look up in its first step."""
    config = prepared.config
    table = freshest_rows(checkpoint, torch.Size((len(same_V), config.encoder.vector_width)))
    row_R, last_encode_R = (table[name].numpy() for name in ("row_R", "last_encode_R"))
    young_R = first_step - last_encode_R <= config.planner.max_age_steps
    valid_R = young_R & same_V[row_R] & (config.planner.policy in _LOOKS_UP)
    return row_R[valid_R], table["vector_RD"][torch.from_numpy(valid_R)], last_encode_R[valid_R]
