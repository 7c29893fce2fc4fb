"""Turns a StepBatch into tensors on the training device, with slots that point at the rows of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.batch import IntArray, StepBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTensors:
    """The head's input next to the leaf (N, D): slots point at the leaf's rows."""

    click_slot_BL: Tensor
    click_mask_BL: Tensor
    earlier_BL: Tensor
    target_slot_BPK: Tensor
    target_mask_BPK: Tensor
    prefix_BP: Tensor
    weight_BP: Tensor


def head_arrays(batch: StepBatch, inverse_M: IntArray) -> dict[str, NDArray[Any]]:
    """The fields of StepTensors on the host; `inverse_M`: position of each requested item in the plan's rows."""
    place_M = inverse_M if len(inverse_M) else np.zeros(1, np.int64)  # without items all slots are 0
    return {
        "click_slot_BL": place_M[batch.click_slot_BL].astype(np.int64),
        "click_mask_BL": batch.click_mask_BL,
        "earlier_BL": batch.earlier_BL.astype(np.int64),
        "target_slot_BPK": place_M[batch.target_slot_BPK].astype(np.int64),
        "target_mask_BPK": batch.target_mask_BPK,
        "prefix_BP": batch.prefix_BP.astype(np.int64),
        "weight_BP": batch.weight_BP,
    }
