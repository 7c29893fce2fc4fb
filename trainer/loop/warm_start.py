"""Warm start: a new run starts with an earlier checkpoint's weights, on a token table that has grown since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from schemas.token_table import TokenTable
from trainer.checkpoint.files import Checkpoint, ResumeError, checkpoint_errors, load_checkpoint
from trainer.checkpoint.retention import resolve_checkpoint
from trainer.checkpoint.selection import choices_of
from trainer.config import changed_options
from trainer.encode.chunks import hash64
from trainer.setup.prepare import Prepared, config_of, load_weights


def token_identity(table: TokenTable) -> dict[str, Tensor]:
    """A checkpoint's record of its token table: for every item row a hash of its tokens, and their version."""
    start_V1 = np.asarray(table.token_start_S1)[np.asarray(table.segment_start_V1)]
    place_R = np.arange(start_V1[-1]) - np.repeat(start_V1[:-1], np.diff(start_V1))
    with np.errstate(over="ignore"):
        sums = np.cumsum(hash64(place_R, np.asarray(table.token_values).astype(np.int64)), dtype=np.uint64)
        upto_V1 = np.concatenate([np.zeros(1, np.uint64), sums])[start_V1]
        hash_V = np.diff(upto_V1).view(np.int64)
    return {"hash_V": torch.from_numpy(hash_V), "version_V": torch.from_numpy(np.array(table.tokens_version_V))}


def begin_from(prepared: Prepared, path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint, or of the best or newest in a folder of them, into an untrained model.

    ResumeError unless encoder and user model equal the checkpoint's and the token table extends its: the same rows,
    whose tokens changed only where their version changed, and perhaps more. Optimiser, vectors and schedule start
    fresh.
    """
    checkpoint = load_checkpoint(resolve_checkpoint(path))
    before = config_of(checkpoint)
    architecture = [o for o in changed_options(before, prepared.config) if o.startswith(("encoder.", "user."))]
    if architecture:
        raise ResumeError(f"{path}: the checkpoint's model is another: {'; '.join(architecture)}")
    with checkpoint_errors(checkpoint.path):
        new, changed = _growth(checkpoint, prepared, path)
        step = int(checkpoint.state["position"]["step"])
    load_weights(prepared.model, checkpoint)
    chosen_by = choices_of(checkpoint) or []
    return {"path": str(checkpoint.path), "step": step, "new": new, "changed": changed, "chosen_by": chosen_by}


def _growth(checkpoint: Checkpoint, prepared: Prepared, path: Path) -> tuple[int, int]:
    """(item rows that the token table has beyond the checkpoint's, rows whose token version changed since)."""
    tokens = prepared.directory.manifest.tokens
    data = checkpoint.state["data"]
    if not tokens.are_of(data["tokenizer_sha256"], data.get("tokenizer_content", "")):
        raise ResumeError(f"{path}: the checkpoint's tokens are of another tokenizer than {tokens.tokenizer!r}")
    then, now = checkpoint.tensors["tokens"], token_identity(prepared.directory.token_table())
    rows = len(then["hash_V"])
    if then["hash_V"].shape != then["version_V"].shape:
        raise ResumeError(f"{path}: the checkpoint is damaged: {rows} item rows, {len(then['version_V'])} versions")
    if rows > tokens.rows:
        raise ResumeError(f"{path}: the checkpoint has {rows} item rows, the token table only {tokens.rows}")
    hash_V, version_V = now["hash_V"][:rows], now["version_V"][:rows]
    there_V = hash_V != 0  # 0 = no tokens: another source's item, which an older feedloop packed with tokens
    same_V = (version_V == then["version_V"]) | ~there_V
    other = int((same_V & there_V & (hash_V != then["hash_V"])).sum() + (version_V < then["version_V"]).sum())
    if other:
        raise ResumeError(
            f"{path}: the token table does not extend the checkpoint's: {other} of its {rows} rows hold other news. "
            "Name a directory packed from the same lake"
        )
    return tokens.rows - rows, int((~same_V).sum())
