"""Work counted from integers equals the tokens that the encoder is given and the FLOPs that torch counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from schemas.token_table import TokenTable
from tests.packed import packed_directory, tiny_plm, token_table
from tests.trainer.loop.test_trainer import start
from trainer.config import TrainConfig
from trainer.cost.work import Lengths, WorkCounter, _computed, trained_shape
from trainer.encode.chunks import Chunk
from trainer.encode.policies import PlannerConfig, Policy
from trainer.loop.steps import PlannedStep
from trainer.loop.trainer import Trainer
from trainer.model.encoder_input import chunk_arrays
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.run_config import RunConfig


def in_pairs(table: TokenTable) -> TokenTable:
    """The same segments, two to an item; the last item has one where their number is odd."""
    segments = len(table.token_start_S1) - 1
    starts = np.r_[0, np.arange(0, segments, 2), segments].astype(np.int64)
    rows = len(starts) - 1
    return replace(
        table,
        segment_start_V1=starts,
        canonical_row_V=np.arange(rows, dtype=np.int32),
        tokens_version_V=np.ones(rows, np.int32),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_directory(tmp_path_factory.mktemp("work") / "packed")


def trainer_of(data: Path, policy: Policy, *, frozen: int = 0, kept: int | None = None) -> Trainer:
    plm = tiny_plm(data.parent / "plm", dropout=0.0)
    config = TrainConfig(
        run=RunConfig(batches_per_step=2, samples_per_step=5, reader="arrow", kept_chunks=kept),
        encoder=TextEncoderConfig(plm=plm, frozen_layers=frozen, vector_width=8, pooling_width=8),
        planner=PlannerConfig(policy=policy, warm_up_steps=1, accumulate_steps=2, chunk_sizes=(16, 4)),
    )
    trainer = start(config, data)
    upper: Any = trainer.prepared.encoder.split.upper  # torch counts what plain attention multiplies
    if not frozen:
        upper.pooler = None  # it sees one token of each segment, and its output is unused
    for module in upper.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"
    return trainer


def steps_of(trainer: Trainer) -> list[PlannedStep]:
    return list(trainer.epoch_steps())


@pytest.mark.parametrize("policy", get_args(Policy))
def test_tokens_are_those_that_the_encoder_is_given(data: Path, policy: Policy) -> None:
    trainer = trainer_of(data, policy)
    items = trainer.prepared.items
    steps = steps_of(trainer)
    assert any(step.work.tokens for step in steps)
    for step in steps:
        given = [(items.segments(chunk.rows_C).mask_CST, chunk) for chunk in step.plan.encode]
        assert step.work.computed_tokens == sum(mask_CST.size for mask_CST, _ in given)
        assert step.work.tokens == sum(int(mask_CST[: chunk.items].sum()) for mask_CST, chunk in given)


@pytest.mark.parametrize("row_tokens", [0, 24])
def test_the_shape_that_is_counted_is_that_of_the_encoders_input(tmp_path: Path, row_tokens: int) -> None:
    """One segment or several, padded or in shared rows."""
    plm = tiny_plm(tmp_path / "plm")
    encoder = TextEncoder(TextEncoderConfig(plm=plm, frozen_layers=0, row_tokens=row_tokens))
    for table in (token_table(31), in_pairs(token_table(31))):
        items = ItemInput(table, device=torch.device("cpu"))
        for rows_C in (np.array([3, 16, 7, 0]), np.arange(12), np.array([5])):
            made = chunk_arrays(rows_C, items, encoder.layout)
            assert made.computed == encoder.inputs(rows_C, items).input_XT.shape


def test_items_of_several_segments_are_counted_as_they_are_computed() -> None:
    table = in_pairs(token_table(31))
    lengths, items = Lengths.of(table), ItemInput(table, device=torch.device("cpu"))
    encoder = TextEncoder(TextEncoderConfig())
    shape = trained_shape(encoder.split)
    counter = WorkCounter(lengths=lengths, shape=shape, kept_chunks=None)
    rows_C = np.array([3, 16, 7, 0])  # two segments, one, two, and the pad
    mask_CST = items.segments(rows_C).mask_CST
    assert mask_CST.shape[:2] == (4, 2)
    chunk = Chunk(rows_C=rows_C, slots=np.arange(3), seed=1)
    real_C = [[int(length) for length in mask_CST[item].sum(-1)] for item in range(3)]
    real_C[1] = real_C[1][:1]  # the second segment's token is padding
    computed = {chunk.seed: chunk_arrays(rows_C, items, encoder.layout).computed}
    assert _computed(computed, [chunk]) == (mask_CST.size, 4 * 2 * mask_CST.shape[2] ** 2)
    assert counter._real([chunk]) == (
        sum(sum(lengths) for lengths in real_C),
        sum(length**2 for lengths in real_C for length in lengths),
    )


def counted_by_torch(trainer: Trainer, step: PlannedStep) -> int:
    """FLOPs of the language model alone, forward and backward of all that the step encodes or replays."""
    split = trainer.prepared.encoder.split
    total = 0

    def counting(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        nonlocal total
        given = trainer.prepared.encoder.given(tensors, trainer.prepared.items)
        with FlopCounterMode(display=False) as counter:
            hidden_CTH = split(given.input_XT, given.mask_CST.flatten(0, 1))
            if torch.is_grad_enabled():
                hidden_CTH.sum().backward()
        total += counter.get_total_flops()
        return torch.as_tensor(trainer.prepared.encoder.vectors(given))

    counting.backward = lambda vector_CD, gradient_CD, *, last: torch.autograd.backward(vector_CD, gradient_CD)  # type: ignore[attr-defined]
    trainer.table._encode = counting  # type: ignore[assignment]
    trainer.take_step(step)
    return total


@pytest.mark.parametrize("kept", [None, 1, 0])
def test_multiplications_are_those_that_torch_counts(data: Path, kept: int | None) -> None:
    trainer = trainer_of(data, "once", kept=kept)
    step = next(iter(trainer.epoch_steps()))
    assert len(step.plan.backward) > 1
    assert step.work.computed_flops == counted_by_torch(trainer, step)
    assert 0 < step.work.flops < step.work.computed_flops


def test_of_frozen_layers_nothing_counts(data: Path) -> None:
    trainer = trainer_of(data, "once", frozen=1)
    step = next(iter(trainer.epoch_steps()))
    to_stored_input = 2 * 3 * 32**2 * step.work.computed_tokens  # through query, key and value: it owes no gradient
    assert counted_by_torch(trainer, step) == step.work.computed_flops - to_stored_input
    unfrozen = next(iter(trainer_of(data, "once").epoch_steps()))
    assert step.work.computed_flops * 2 == unfrozen.work.computed_flops


def test_a_replay_costs_one_more_forward(data: Path) -> None:
    kept, replayed = (next(iter(trainer_of(data, "once", kept=kept).epoch_steps())).work for kept in (None, 0))
    assert replayed.computed_flops * 3 == kept.computed_flops * 4
    assert replayed._replace(computed_flops=0) == kept._replace(computed_flops=0)
