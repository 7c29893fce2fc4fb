"""Turns a StepBatch into tensors on the training device, with slots that point at the rows of the plan."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
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

    @classmethod
    def of(cls, batch: StepBatch, inverse_M: IntArray) -> StepTensors:
        """CPU tensors of the batch; `inverse_M`: position of each requested item in the plan's rows."""
        click_slot = inverse_M[batch.click_slot_BL] if len(inverse_M) else batch.click_slot_BL
        target_slot = inverse_M[batch.target_slot_BPK] if len(inverse_M) else batch.target_slot_BPK
        return cls(
            click_slot_BL=torch.from_numpy(click_slot).long(),
            click_mask_BL=torch.from_numpy(batch.click_mask_BL),
            earlier_BL=torch.from_numpy(batch.earlier_BL).long(),
            target_slot_BPK=torch.from_numpy(target_slot).long(),
            target_mask_BPK=torch.from_numpy(batch.target_mask_BPK),
            prefix_BP=torch.from_numpy(batch.prefix_BP).long(),
            weight_BP=torch.from_numpy(batch.weight_BP),
        )

    def pinned(self) -> StepTensors:
        """The same in pinned memory, so that copies to a GPU run without waiting."""
        return StepTensors(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    def to(self, device: torch.device) -> StepTensors:
        """The same on `device`."""
        return StepTensors(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})
