"""Computes the gradients of two processes over gloo with unequal data, one of them without data in one step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.multiprocessing.spawn import start_processes

from trainer.data.batch import StepBatch
from trainer.encode.policies import PlannerConfig
from trainer.exact.scene import Scene, SceneConfig
from trainer.ranks.process_group import Ranks

WORLD = 2


def shares(batches: Sequence[StepBatch], rank: int) -> list[StepBatch]:
    """Rank 0 takes all users of each step but the last, rank 1 the last; in the second step rank 0 takes all."""
    cuts = [len(batch.weight_BP) - (step != 1) for step, batch in enumerate(batches)]
    return [
        _users(batch, slice(None, cut) if rank == 0 else slice(cut, None))
        for batch, cut in zip(batches, cuts, strict=True)
    ]


def _users(batch: StepBatch, chosen: slice) -> StepBatch:
    axes = [field.name for field in fields(StepBatch) if field.name != "ask_M"]
    part = replace(batch, **{name: getattr(batch, name)[chosen] for name in axes})
    return part if len(part.weight_BP) else replace(part, ask_M=part.ask_M[:0])


def two_ranks(scene: SceneConfig, policy: PlannerConfig) -> Tensor:
    """The summed gradients of a scene's epoch, trained by two processes."""
    with TemporaryDirectory() as folder:
        start_processes(_work, args=(scene, policy, folder), nprocs=WORLD, start_method="spawn")
        return torch.from_numpy(np.load(Path(folder) / "total.npy"))


def _work(rank: int, config: SceneConfig, policy: PlannerConfig, folder: str) -> None:
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # gloo prints a line when it connects
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    scene = Scene(config)
    counts = [batch.weight_sum for batch in scene.batches]
    found = scene.gradients(policy, batches=shares(scene.batches, rank), counts=counts, ranks=Ranks(rank, WORLD))
    if rank == 0:
        np.save(Path(folder) / "total.npy", found.total().numpy())
    dist.barrier()
    dist.destroy_process_group()
