"""StepEncoder: computes in bfloat16, sums in float32; compiled chunks replay to the bit and have few shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.packed import VOCABULARY, packed_directory, tiny_plm
from trainer.config import TrainConfig
from trainer.encode.chunks import seeded
from trainer.exact.scene import random_tokens
from trainer.loop.trainer import Trainer
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.optimise.mixed_precision import StepEncoder, inductor
from trainer.optimise.optimiser import OptimiserConfig
from trainer.run_config import RunConfig
from trainer.setup.prepare import prepare

CPU = torch.device("cpu")
ROWS = np.arange(1, 9)


@pytest.fixture
def items() -> ItemInput:
    return ItemInput(random_tokens(np.random.default_rng(3), 20, vocabulary=VOCABULARY), device=CPU)


def encoder(folder: Path, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    config = TextEncoderConfig(plm=tiny_plm(folder), frozen_layers=0, vector_width=8, pooling_width=8, **options)
    return TextEncoder(config)


def gradients(model: TextEncoder) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_of_a_bfloat16_copy_are_added_up_in_float32(tmp_path: Path, items: ItemInput) -> None:
    master = encoder(tmp_path).eval()
    half = StepEncoder(master, items, half=True)
    assert half(ROWS).dtype == torch.bfloat16
    half(ROWS).float().sum().backward()
    once = gradients(master)
    assert {grad.dtype for grad in once.values()} == {torch.float32}
    for _ in range(299):  # in bfloat16 a sum of 300 like numbers would have stopped growing at 256
        half(ROWS).float().sum().backward()
    weight = "project.bias"
    assert gradients(master)[weight].tolist() == pytest.approx((300 * once[weight]).tolist(), rel=1e-3)
    master.zero_grad()
    StepEncoder(master, items)(ROWS).sum().backward()
    full = gradients(master)
    assert full.keys() == once.keys()
    error = sum(float((full[n] - once[n]).square().sum()) for n in full) / sum(
        float(g.square().sum()) for g in full.values()
    )
    assert 0 < error < 0.02**2


def test_the_copy_follows_its_masters_and_shares_what_is_frozen(tmp_path: Path, items: ItemInput) -> None:
    torch.manual_seed(0)
    config = TextEncoderConfig(plm=tiny_plm(tmp_path, layers=2), frozen_layers=1, vector_width=8)
    master = TextEncoder(config)
    half = StepEncoder(master, items, half=True)
    assert half._encoder.split.frozen_modules[0] is master.split.frozen_modules[0]
    with torch.no_grad():
        master.project.bias.add_(1.0)
    assert not torch.equal(half._encoder.project.bias.float(), master.project.bias)
    half.follow()
    assert torch.equal(half._encoder.project.bias.float(), master.project.bias)


@pytest.mark.parametrize("row_tokens", [0, 16])
@pytest.mark.parametrize("bus", [False, True])
def test_compiled_chunks_are_those_as_written_and_have_few_shapes(
    tmp_path: Path, items: ItemInput, *, bus: bool, row_tokens: int
) -> None:
    shapes = []

    def counted(graph: Any, inputs: list[Any]) -> Any:
        shapes.append(graph)
        return graph.forward

    torch._dynamo.reset()
    master = encoder(tmp_path, bus=bus, row_tokens=row_tokens, attention_dropout=0.0).eval()
    compiled = StepEncoder(master, items, compiler=lambda f: torch.compile(f, dynamic=False, backend=counted))
    plain = StepEncoder(master, items)
    rng = np.random.default_rng(0)
    for _ in range(12):
        rows = rng.integers(0, 21, 8)
        assert (compiled(rows) - plain(rows)).abs().max() < 1e-5
    assert 1 <= len(shapes) <= 4 * (8 if row_tokens else 1)


def test_a_compiled_chunk_replays_with_the_same_dropout(tmp_path: Path, items: ItemInput) -> None:
    torch._dynamo.reset()
    master = encoder(tmp_path).train()
    compiled = StepEncoder(master, items, compiler=lambda f: torch.compile(f, dynamic=False, backend="aot_eager"))
    found = []
    for with_graph in (False, True):
        with seeded(5, CPU), torch.set_grad_enabled(with_graph):
            found.append(compiled(ROWS))
    assert [vector.requires_grad for vector in found] == [False, True]
    assert torch.equal(found[0], found[1].detach())
    with seeded(6, CPU):
        assert not torch.equal(found[0], compiled(ROWS).detach())


@pytest.mark.slow
def test_what_the_real_compiler_makes_replays_too(tmp_path: Path, items: ItemInput) -> None:
    torch._dynamo.reset()
    master = encoder(tmp_path).train()
    compiled = StepEncoder(master, items, half=True, compiler=inductor)
    found = []
    for with_graph in (False, True):
        with seeded(5, CPU), torch.set_grad_enabled(with_graph):
            found.append(compiled(ROWS))
    assert torch.equal(found[0], found[1].detach())
    found[1].float().sum().backward()
    assert gradients(master).keys() >= {"project.weight", "token_pool.project.weight"}
    master.eval()
    compiled.follow()
    plain = StepEncoder(master, items)(ROWS)
    assert (compiled(ROWS).float() - plain).norm() < 0.02 * plain.norm()


def test_a_bfloat16_run_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    data = packed_directory(tmp_path / "packed")
    config = TrainConfig(
        run=RunConfig(epochs=1, precision="bfloat16", seed=4),
        encoder=TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), frozen_layers=1, vector_width=8, pooling_width=8),
        optimiser=OptimiserConfig(encoder_learning_rate=1e-3, learning_rate=1e-2),
    )

    def trainer(*, precision: str = "bfloat16") -> Trainer:
        run = replace(config.run, precision=precision)  # type: ignore[arg-type]
        ready = replace(config, run=run)
        return Trainer(prepare(ready, data, store=None, device=CPU, progress=lambda *_: None))

    def losses(of: Trainer, steps: int) -> list[float]:
        return [float(of.take_step(step)) for step in of.epoch_steps(packed_steps=steps)]

    unbroken, first, second = trainer(), trainer(), trainer()
    expected = losses(unbroken, 6)
    begun = losses(first, 3)
    second.restore(first.checkpoint())
    assert begun + losses(second, 3) == expected
    for one, other in zip(unbroken.model.parameters(), second.model.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
    exact = losses(trainer(precision="float32"), 6)
    assert exact != expected
    assert expected == pytest.approx(exact, rel=0.03)
