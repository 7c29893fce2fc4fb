"""StepEncoder: computes in bfloat16, sums in float32; compiled chunks replay to the bit and have few shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from schemas.token_table import TokenTable
from tests.packed import VOCABULARY, packed_directory, tiny_plm
from trainer.config import TrainConfig
from trainer.encode.chunks import chunks_of, seeded
from trainer.encode.cutting import Cutter, Lengths, PackedForms, PaddedForms
from trainer.exact.scene import random_tokens
from trainer.loop.trainer import Trainer
from trainer.model.item_input import ItemInput
from trainer.model.packed_rows import best_fit
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.optimise.compiled import Compiler, inductor
from trainer.optimise.gradients import FlatGradients
from trainer.optimise.mixed_precision import StepEncoder
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
    flat = FlatGradients({"all": list(master.parameters())})
    half.send_to(flat, "all")
    assert half.of_rows(ROWS).dtype == torch.bfloat16
    half.of_rows(ROWS).float().sum().backward()
    half.collect()
    once = gradients(master)
    assert {grad.dtype for grad in once.values()} == {torch.float32}
    for _ in range(299):  # in bfloat16 a sum of 300 like numbers would have stopped growing at 256
        half.of_rows(ROWS).float().sum().backward()
        half.collect()
    weight = "project.bias"
    assert gradients(master)[weight].tolist() == pytest.approx((300 * once[weight]).tolist(), rel=1e-3)
    flat.zero()
    StepEncoder(master, items).of_rows(ROWS).sum().backward()
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


def titles(count: int) -> TokenTable:
    """One segment of 3 to 32 tokens for each item, as titles have."""
    lengths = np.clip(np.random.default_rng(1).poisson(13, count) + 3, 3, 32)
    starts = np.r_[0, np.cumsum(lengths)]
    return replace(
        random_tokens(np.random.default_rng(2), count, vocabulary=VOCABULARY),
        segment_start_V1=np.r_[0, np.arange(count + 1)].astype(np.int64),
        token_start_S1=starts.astype(np.int64),
        segment_field_S=np.zeros(count, np.uint8),
        token_values=np.random.default_rng(3).integers(5, VOCABULARY, starts[-1]).astype(np.uint32),
        refined_S=np.zeros(count, np.bool_),
    )


def counting(graphs: list[Any]) -> Compiler:
    """torch.compile without a compiler; `graphs` gets one entry for each graph that torch makes."""

    def backend(graph: Any, inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    return lambda function: torch.compile(function, dynamic=False, backend=backend)


@pytest.mark.parametrize("row_tokens", [0, 64])
@pytest.mark.parametrize("bus", [False, True])
def test_each_shape_is_compiled_once_and_gives_the_vectors_as_written(
    tmp_path: Path, *, bus: bool, row_tokens: int
) -> None:
    items, graphs, shapes = ItemInput(titles(300), device=CPU), [], set()
    master = encoder(tmp_path, bus=bus, row_tokens=row_tokens, attention_dropout=0.0).eval()
    lengths = Lengths(items.tokens_V, items.longest_V, 1)
    cutter: Cutter = PaddedForms((8, 4), lengths)
    if row_tokens:
        cutter = PackedForms((16, 8), lengths, width=64, rows_needed=lambda tokens, width: best_fit(tokens, width)[2])
    compiled = StepEncoder(master, items, compiler=counting(graphs), forms=cutter.forms)
    plain, rng = StepEncoder(master, items), np.random.default_rng(0)
    for _ in range(25):
        rows = rng.permutation(np.arange(1, 301))[: int(rng.integers(1, 60))]
        for chunk in chunks_of(cutter.cut(rows), rows, np.arange(len(rows)), seed_parts=(1,)):
            form = cutter.form(chunk.rows_C)
            assert form is not None
            shapes.add((len(chunk.rows_C), form))
            found = compiled.of_rows(chunk.rows_C, form, real=chunk.items)[: chunk.items]
            assert (found - plain.of_rows(chunk.item_rows)).abs().max() < 1e-5
    assert 1 < len(graphs) == len(shapes) <= cutter.forms <= 8


def test_one_shape_more_than_the_list_holds_is_an_error(tmp_path: Path, items: ItemInput) -> None:
    graphs: list[Any] = []
    compiled = StepEncoder(encoder(tmp_path).eval(), items, compiler=counting(graphs), forms=2)
    for size in (3, 5, 3, 5):
        compiled.of_rows(np.arange(1, 1 + size))
    assert len(graphs) == 2
    with pytest.raises(InputError, match=r"compiled for 2 shapes .*'mask_CST': \(7, .*run\.compile = false"):
        compiled.of_rows(np.arange(1, 8))
    other = StepEncoder(encoder(tmp_path).eval(), items, compiler=counting(graphs), forms=1)
    other.of_rows(np.arange(1, 4))  # another encoder has its own list
    assert len(graphs) == 3


def test_a_compiled_chunk_replays_with_the_same_dropout(tmp_path: Path, items: ItemInput) -> None:
    master = encoder(tmp_path).train()
    compiled = StepEncoder(master, items, compiler=lambda f: torch.compile(f, dynamic=False, backend="aot_eager"))
    found = []
    for with_graph in (False, True):
        with seeded(5, CPU), torch.set_grad_enabled(with_graph):
            found.append(compiled.of_rows(ROWS))
    assert [vector.requires_grad for vector in found] == [False, True]
    assert torch.equal(found[0], found[1].detach())
    with seeded(6, CPU):
        assert not torch.equal(found[0], compiled.of_rows(ROWS).detach())


@pytest.mark.slow
def test_what_the_real_compiler_makes_replays_too(tmp_path: Path, items: ItemInput) -> None:
    master = encoder(tmp_path).train()
    compiled = StepEncoder(master, items, half=True, compiler=inductor)
    compiled.send_to(FlatGradients({"all": list(master.parameters())}), "all")
    found = []
    for with_graph in (False, True):
        with seeded(5, CPU), torch.set_grad_enabled(with_graph):
            found.append(compiled.of_rows(ROWS))
    assert torch.equal(found[0], found[1].detach())
    found[1].float().sum().backward()
    compiled.collect()
    reached = {name for name, gradient in gradients(master).items() if gradient.any()}
    assert reached >= {"project.weight", "token_pool.project.weight"}
    master.eval()
    compiled.follow()
    plain = StepEncoder(master, items).of_rows(ROWS)
    assert (compiled.of_rows(ROWS).float() - plain).norm() < 0.02 * plain.norm()


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
