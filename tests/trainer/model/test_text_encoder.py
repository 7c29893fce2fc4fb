"""The text encoder uses the frequency of refined text's keywords, and their positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import ModernBertConfig, ModernBertModel

from schemas.token_table import TokenTable
from tests.packed import VOCABULARY, tiny_plm
from trainer.exact.scene import random_tokens
from trainer.model.frozen import fill_store
from trainer.model.item_input import FREQUENCIES, ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig

CPU = torch.device("cpu")
ROWS = torch.arange(1, 7)


def refined(table: TokenTable, *, frequency: int, stride: int) -> TokenTable:
    """The same tokens; every even segment was refined from a text with `stride` tokens between its keywords."""
    refined_S = np.arange(len(table.refined_S)) % 2 == 0
    lengths = np.diff(table.token_start_S1)[refined_S]
    frequencies, positions = [], []
    for length in lengths:
        frequencies += [0, *[frequency] * (length - 2), 0]
        positions += [0, *range(1, 1 + stride * (length - 2), stride), 0]
    return replace(
        table,
        refined_S=refined_S,
        keyword_frequency_R=np.array(frequencies, np.uint8),
        keyword_position_R=np.array(positions, np.uint16),
    )


@pytest.fixture
def table() -> TokenTable:
    return random_tokens(np.random.default_rng(1), 6, vocabulary=VOCABULARY)


def encoder_of(plm: str, *, frozen_layers: int = 0, row_tokens: int = 0) -> TextEncoder:
    config = TextEncoderConfig(
        plm=plm, frozen_layers=frozen_layers, vector_width=8, pooling_width=8, bus=False, row_tokens=row_tokens
    )
    torch.manual_seed(0)
    return TextEncoder(config).eval()


def vectors(encoder: TextEncoder, table: TokenTable) -> Tensor:
    store = None
    if encoder.split.frozen_layers:
        store = torch.zeros(len(table.token_values), encoder.split.hidden)
        fill_store(encoder.split, ItemInput(table, device=CPU), ROWS.numpy(), store, lambda _: None)
    return torch.as_tensor(encoder(ROWS, ItemInput(table, device=CPU, store_H=store)))


@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_a_keywords_frequency_is_learnt_from_zero(table: TokenTable, tmp_path: Path, frozen_layers: int) -> None:
    encoder = encoder_of(tiny_plm(tmp_path), frozen_layers=frozen_layers)
    assert encoder.frequency is not None
    plain, once = vectors(encoder, table), vectors(encoder, refined(table, frequency=1, stride=1))
    assert torch.allclose(plain, once, atol=1e-6)
    once.sum().backward()
    seen = encoder.frequency.weight.grad.abs().sum(1) > 0  # type: ignore[union-attr]
    assert seen.tolist() == [number == 1 for number in range(FREQUENCIES)]
    with torch.no_grad():
        encoder.frequency.weight[3:] += torch.randn(FREQUENCIES - 3, encoder.split.input_width)
    few, many, more = (vectors(encoder, refined(table, frequency=n, stride=1)) for n in (1, 3, FREQUENCIES + 9))
    assert torch.allclose(few, plain, atol=1e-6)
    touched = [refined(table, frequency=1, stride=1).refined_S[a:b].any() for a, b in _segments(table)]
    assert ((many - few).abs().amax(1) > 1e-4).tolist() == touched
    most = vectors(encoder, refined(table, frequency=FREQUENCIES - 1, stride=1))
    assert torch.allclose(more, most)


@pytest.mark.parametrize("row_tokens", [0, 64])
def test_output_that_is_not_stored_is_computed_and_rounded_alike(
    table: TokenTable, tmp_path: Path, row_tokens: int
) -> None:
    encoder = encoder_of(tiny_plm(tmp_path, layers=3), frozen_layers=2, row_tokens=row_tokens)
    store = torch.zeros(len(table.token_values), encoder.split.hidden, dtype=torch.half)
    fill_store(encoder.split, ItemInput(table, device=CPU), ROWS.numpy(), store, lambda _: None)
    items = ItemInput(table, device=CPU, store_H=store)
    with torch.no_grad():
        stored, computed = encoder(ROWS.numpy(), items), encoder(ROWS.numpy(), items.without_store())
    assert torch.allclose(stored, computed, atol=1e-4)
    assert stored.abs().max() > 0.1


def _segments(table: TokenTable) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(table.segment_start_V1[1:-1], table.segment_start_V1[2:], strict=True)]


def test_places_in_the_text_are_seen_by_relative_positions_alone(table: TokenTable, tmp_path: Path) -> None:
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=2,
        pad_token_id=0,
        initializer_range=0.5,  # small weights attend to all alike, wherever they stand
    )
    torch.manual_seed(0)
    ModernBertModel(config).save_pretrained(tmp_path / "modern")
    near, far = refined(table, frequency=1, stride=1), refined(table, frequency=1, stride=7)
    for plm, sees in ((str(tmp_path / "modern"), True), (tiny_plm(tmp_path / "bert"), False)):
        encoder = encoder_of(plm)
        plain = vectors(encoder, table)
        assert torch.allclose(vectors(encoder, near), plain, atol=1e-6)
        assert (float((vectors(encoder, far) - plain).detach().abs().max()) > 1e-4) == sees
