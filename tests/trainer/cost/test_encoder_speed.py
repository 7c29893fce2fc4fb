"""encoder_speed times loads shaped as training shapes them; one that fails does not stop the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from trainer.cost.encoder_speed import SpeedConfig, _cut, encoder_speed, title_lengths
from trainer.model.split_encoder import SplitEncoder

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("of memory"), BackendCompilerFailed(None, ValueError("of kernels"), None)]
)
def test_a_load_that_fails_is_left_out_with_the_reason_and_the_next_one_is_measured(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_encoder: SplitEncoder, *_: object) -> Tensor:
        raise error

    monkeypatch.setattr(SplitEncoder, "packed", fail)
    config = SpeedConfig(size="tiny", segments=8, repeats=1, bfloat16=False, loads=("rows_sdpa", "full"))
    found = dict(encoder_speed(config, CPU))
    assert type(error).__name__ in found["rows_sdpa"]["left_out"]
    assert str(error).splitlines()[-1] in found["rows_sdpa"]["left_out"]
    assert found["full"]["seconds"] > 0


def test_titles_are_padded_in_chunks_of_few_shapes_as_in_training_on_a_gpu() -> None:
    titles = title_lengths(np.random.default_rng(1), 2048, longest=32)
    chunks = _cut(titles, 256)
    assert sorted(titles) == sorted(np.concatenate([length_C[length_C > 0] for length_C, _ in chunks]))
    assert all(length_C.max() <= tokens for length_C, tokens in chunks)
    assert 2 < len({(len(length_C), tokens) for length_C, tokens in chunks}) <= 8
    computed = sum(len(length_C) * tokens for length_C, tokens in chunks)
    assert titles.sum() < computed < 1.4 * titles.sum() < len(titles) * 32


def test_flex_attention_is_left_out_where_it_has_no_kernel() -> None:
    config = SpeedConfig(size="tiny", loads=("rows_flex",))
    assert dict(encoder_speed(config, CPU))["rows_flex"]["left_out"].startswith("not on a cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("compiled", [False, True])
def test_every_load_is_measured_on_a_gpu(compiled: bool) -> None:
    config = SpeedConfig(size="tiny", segments=64, repeats=1, compiled=compiled)
    found = dict(encoder_speed(config, torch.device("cuda")))
    assert all(figures["useful_mfu"] > 0 for figures in found.values()), found
