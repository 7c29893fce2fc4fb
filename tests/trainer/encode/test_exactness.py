"""Encode once is exact: float64 gradients against plain end-to-end training, each with a control that must differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.packed import batches_of, random_trajectory, tiny_plm, token_table
from trainer.data.batch import StepBatch, check_batch, merge, per_occurrence, per_target
from trainer.data.tensors import StepTensors
from trainer.encode.placed import PlacedPlan
from trainer.encode.plan import Plan
from trainer.encode.planner import make_planner
from trainer.encode.policies import PlannerConfig
from trainer.encode.vector_table import VectorTable
from trainer.loop.steps import StepMaker
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig
from trainer.optimise.mixed_precision import StepEncoder
from trainer.tasks.ranking import RankingHead

ITEMS = 30
CPU = torch.device("cpu")
FINITE = torch.tensor(True)
EXACT = 1e-12


class Bench:
    """A float64 model over random items, and the gradients that a policy gives it on one batch."""

    def __init__(self, folder: Path, *, dropout: float) -> None:
        torch.manual_seed(1)
        plm = tiny_plm(folder, dropout=dropout)
        config = TextEncoderConfig(plm=plm, frozen_layers=0, vector_width=12, pooling_width=8, bus=True)
        self.encoder = TextEncoder(config).double().train()
        self.head = RankingHead(UserEncoderConfig(attention_width=8), vector_width=12).double()
        for pool in (self.encoder.token_pool, self.head.user.attention):  # a zero query would hide mistakes in pooling
            nn.init.normal_(pool.query.weight)
        self.encode = StepEncoder(self.encoder, ItemInput(token_table(ITEMS), device=CPU))
        rng = np.random.default_rng(0)
        trajectories = [random_trajectory(rng, items=ITEMS) for _ in range(8)]
        self.batch = merge([check_batch(arrays, "test", rows=1000) for arrays in batches_of(trajectories, size=4)])

    def parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.head.parameters()]

    def table(self, *, kept_chunks: int | None = None) -> VectorTable:
        return VectorTable(
            self.encode,
            rows=ITEMS + 1,
            width=12,
            device=CPU,
            kept_chunks=kept_chunks,
            dtype=torch.float64,
        )

    def gradients(
        self, config: PlannerConfig, *, batch: StepBatch | None = None, kept_chunks: int | None = None, steps: int = 1
    ) -> Tensor:
        """All gradients, end to end, of the last of `steps` steps on the same batch."""
        batch = batch or self.batch
        planner, table = make_planner(config, rows=ITEMS + 1, seed=3), self.table(kept_chunks=kept_chunks)
        for step in range(steps):
            self.run(planner.plan(step, [batch.ask_M]), batch, table)
        return self.flat()

    def run(self, plan: Plan, batch: StepBatch, table: VectorTable) -> None:
        for parameter in self.parameters():
            parameter.grad = None
        placed, tensors = self.placed(plan, batch)
        table.refresh(placed)
        self.head(table.read(placed), tensors).backward()
        table.backward_encoder(placed, batch.weight_sum)
        table.stage(placed, batch.weight_sum, FINITE)
        table.commit()

    def placed(self, plan: Plan, batch: StepBatch) -> tuple[PlacedPlan, StepTensors]:
        maker = StepMaker(lambda chunk: self.encode.arrays(chunk.rows_C, real=chunk.items))
        return maker.made(plan, batch, count=1.0, completes=True).to(CPU)

    def plain(self) -> Tensor:
        """End-to-end autograd, target by target, one item at a time, with nothing of encode/: the reference."""
        for parameter in self.parameters():
            parameter.grad = None
        samples = per_target(self.batch)
        loss = torch.zeros((), dtype=torch.float64)

        def vector(row: int) -> Tensor:
            return self.encode.of_rows(np.array([row]))[0]

        for b in range(len(samples.weight_BP)):
            clicks = samples.ask_M[samples.click_slot_BL[b][samples.click_mask_BL[b]]]
            keys = torch.stack([self.head.user.start_D, *(vector(int(row)) for row in clicks)])
            weight = torch.softmax(self.head.user.attention.logits(keys), dim=0)
            user = (weight[:, None] * keys).sum(0)
            candidates = samples.ask_M[samples.target_slot_BPK[b, 0][samples.target_mask_BPK[b, 0]]]
            scores = torch.stack([vector(int(row)) @ user for row in candidates])
            loss = loss - torch.log_softmax(scores, dim=0)[0]
        loss.backward()
        return self.flat()

    def flat(self) -> Tensor:
        return torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in self.parameters()])


@pytest.fixture
def still(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "plm", dropout=0.0)


@pytest.fixture
def noisy(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "plm", dropout=0.1)


def max_difference(left: Tensor, right: Tensor) -> float:
    return float((left - right).abs().max())


def test_every_exact_policy_gives_the_plain_gradients(still: Bench) -> None:
    plain = still.plain()
    assert float(plain.abs().max()) > 1e-2
    assert max_difference(still.gradients(PlannerConfig(policy="once")), plain) < EXACT
    occurrences = per_occurrence(still.batch)
    assert max_difference(still.gradients(PlannerConfig(policy="naive"), batch=occurrences), plain) < EXACT
    samples = per_occurrence(per_target(still.batch))
    assert max_difference(still.gradients(PlannerConfig(policy="naive_per_target"), batch=samples), plain) < EXACT


def test_cached_without_reuse_is_once_and_with_reuse_is_not(still: Bench) -> None:
    once = still.gradients(PlannerConfig(policy="once"), steps=3)
    never = PlannerConfig(policy="cached", max_reuse=0.0)
    always = PlannerConfig(policy="cached", max_reuse=1.0, warm_up_steps=1)
    assert max_difference(still.gradients(never, steps=3), once) < EXACT
    assert max_difference(still.gradients(PlannerConfig(policy="cached", max_age_steps=0), steps=3), once) < EXACT
    assert max_difference(still.gradients(always, steps=3), once) > 1e-4


def test_chunks_of_any_size_give_the_same_gradient(still: Bench) -> None:
    one_chunk = still.gradients(PlannerConfig(policy="once", chunk_sizes=(64,)))
    for sizes in [(1,), (7, 3), (16, 4)]:
        assert max_difference(still.gradients(PlannerConfig(policy="once", chunk_sizes=sizes)), one_chunk) < EXACT


@pytest.mark.parametrize("kept_chunks", [0, 1, 3])
def test_a_replayed_chunk_has_the_same_dropout(noisy: Bench, kept_chunks: int) -> None:
    config = PlannerConfig(policy="once", chunk_sizes=(6,))
    assert max_difference(noisy.gradients(config, kept_chunks=kept_chunks), noisy.gradients(config)) < EXACT


def test_another_seed_has_other_dropout(noisy: Bench) -> None:
    """The control of the test above: without dropout or with equal seeds, replay would prove nothing."""
    config = PlannerConfig(policy="once", chunk_sizes=(6,))
    first = noisy.gradients(config)
    planner = make_planner(config, rows=ITEMS + 1, seed=4)
    noisy.run(planner.plan(0, [noisy.batch.ask_M]), noisy.batch, noisy.table())
    assert max_difference(noisy.flat(), first) > 1e-4


def test_a_looked_up_vector_is_the_one_that_was_encoded(still: Bench) -> None:
    planner = make_planner(PlannerConfig(policy="cached", max_reuse=0.5, warm_up_steps=1), rows=ITEMS + 1, seed=3)
    table = still.table()
    first = planner.plan(0, [still.batch.ask_M])
    still.run(first, still.batch, table)
    kept = table.vector_VD.clone()
    with torch.no_grad():
        for parameter in still.encoder.parameters():
            parameter.mul_(1.5)
    second = planner.plan(5, [still.batch.ask_M])
    placed, _ = still.placed(second, still.batch)
    table.refresh(placed)
    leaf = table.read(placed).detach()
    fresh = {int(slot) for chunk in second.encode for slot in chunk.slots}
    assert 0 < len(fresh) < len(second.rows_N)
    for slot, row in enumerate(second.rows_N):
        assert torch.equal(leaf[slot], kept[row]) == (slot not in fresh)
    assert torch.equal(table.vector_VD, kept)  # nothing persists before commit
    table.stage(placed, 1.0, ~FINITE)
    table.commit()
    assert torch.equal(table.vector_VD, kept)  # nor if the step was not finite
    table.refresh(placed)
    table.read(placed)
    table.stage(placed, 1.0, FINITE)
    table.commit()
    assert not torch.equal(table.vector_VD, kept)
