"""Packed rows hold every token once and complete items, and give the padded form's vectors and gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from tests.packed import VOCABULARY, tiny_plm
from trainer.exact.scene import random_tokens
from trainer.model import packed_rows
from trainer.model.encoder_input import Layout, chunk_arrays
from trainer.model.frozen import fill_store
from trainer.model.item_input import ItemInput
from trainer.model.packed_rows import PackedSegments, RowMaps, best_fit, pack_rows
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig

CPU = torch.device("cpu")
ROWS = np.array([3, 1, 0, 7, 2, 9, 9, 4])


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=40), st.integers(0, 5))
@settings(deadline=None)
def test_every_token_stands_once_and_an_item_in_one_row(lengths: list[list[int]], more: int) -> None:
    length_CS = np.array(lengths)
    needed = len(pack_rows(length_CS, longest=9, width=32).source_RW)
    made = pack_rows(length_CS, longest=9, width=32, rows=needed + more)
    assert len(made.source_RW) == needed + more
    real_CST = np.arange(9) < length_CS[:, :, None]
    placed = made.source_RW[made.source_RW >= 0]
    assert sorted(placed.tolist()) == np.flatnonzero(real_CST).tolist()
    assert (made.source_RW.flatten()[made.slot_CST[real_CST]] == np.flatnonzero(real_CST)).all()
    assert (made.slot_CST[~real_CST] == made.source_RW.size).all()
    for item, slots in enumerate(made.slot_CST):
        own = np.sort(slots[real_CST[item]])
        assert (np.diff(own) == 1).all()
        assert len(set((own // 32).tolist())) <= 1


def test_titles_leave_little_room() -> None:
    rng = np.random.default_rng(1)
    length_C1 = np.clip(rng.poisson(13, (1024, 1)) + 3, 3, 32)
    made = pack_rows(length_C1, longest=32, width=128)
    assert (made.source_RW >= 0).mean() > 0.97
    assert len(made.source_RW) < 1024 * 32 / 128 * 0.52  # of the rows that four padded segments each would take


@pytest.fixture
def items() -> ItemInput:
    return ItemInput(random_tokens(np.random.default_rng(3), 9, vocabulary=VOCABULARY), device=CPU)


def encoders(plm: str, **options: Any) -> tuple[TextEncoder, TextEncoder]:
    """The same weights in the padded form and in packed rows, in float64."""
    config = TextEncoderConfig(plm=plm, vector_width=8, pooling_width=8, **options)
    torch.manual_seed(0)
    padded = TextEncoder(config).double()
    packed = TextEncoder(replace(config, row_tokens=16)).double()
    packed.load_state_dict(padded.state_dict())
    for encoder in (padded, packed):
        for module in encoder.split.frozen_modules:
            module.double()
        torch.nn.init.normal_(encoder.token_pool.query.weight, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(encoder.segment_pool.query.weight, generator=torch.Generator().manual_seed(2))
    return padded.eval(), packed.eval()


@pytest.mark.parametrize("frozen_layers", [0, 1])
@pytest.mark.parametrize("bus", [False, True])
def test_vectors_and_gradients_are_those_of_the_padded_form(
    tmp_path: Path, items: ItemInput, *, bus: bool, frozen_layers: int
) -> None:
    padded, packed = encoders(tiny_plm(tmp_path, layers=3), bus=bus, frozen_layers=frozen_layers)
    if frozen_layers:
        items.store_H = torch.zeros(items.token_values, padded.split.hidden, dtype=torch.float64)
        fill_store(padded.split, items, np.arange(10), items.store_H, lambda _: None)
    found = [encoder(ROWS, items) for encoder in (padded, packed)]
    assert (found[0] - found[1]).abs().max() < 1e-12
    assert found[0].detach().std(dim=0).min() > 1e-3  # or nothing would have been compared
    for vector_CD in found:
        (vector_CD * torch.linspace(-1, 1, vector_CD.numel(), dtype=torch.float64).view_as(vector_CD)).sum().backward()
    for (name, one), other in zip(padded.named_parameters(), packed.parameters(), strict=True):
        if one.grad is None:
            assert other.grad is None, name
        else:
            assert other.grad is not None, name
            assert (one.grad - other.grad).abs().max() < 1e-11, name


def test_a_longer_item_makes_all_rows_wider(tmp_path: Path, items: ItemInput) -> None:
    layout = Layout(row_tokens=4, frozen=False, frequencies=False, positions=False)
    _, width = chunk_arrays(ROWS, items, layout).computed
    assert width % 4 == 0
    assert width >= items.tokens_V.max()


def test_padding_of_a_chunk_takes_no_room_and_changes_no_vector(tmp_path: Path, items: ItemInput) -> None:
    _, packed = encoders(tiny_plm(tmp_path), frozen_layers=0)
    rows = np.r_[ROWS, np.zeros(40, np.int64)]
    bare, padded = (chunk_arrays(rows, items, packed.layout, real=real) for real in (None, len(ROWS)))
    assert padded.computed == chunk_arrays(ROWS, items, packed.layout).computed
    assert padded.computed[0] < bare.computed[0]
    packed_rows = padded.computed[0] + 3
    found = chunk_arrays(rows, items, packed.layout, (*items.shape(rows), packed_rows), real=len(ROWS))
    assert found.computed[0] == packed_rows
    tensors = {name: torch.from_numpy(array) for name, array in found.arrays.items()}
    vectors = packed.vectors(packed.given(tensors, items))
    assert (vectors[: len(ROWS)] - packed(ROWS, items)).abs().max() < 1e-12
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bus", [False, True])
@pytest.mark.parametrize("width", [128, 256])
def test_flex_attention_sees_what_the_mask_of_all_pairs_shows(
    monkeypatch: pytest.MonkeyPatch, width: int, *, bus: bool, causal: bool
) -> None:
    monkeypatch.setattr(packed_rows, "_FLEX", flex_attention)  # as written: its compiled form wants a GPU to train
    rng = np.random.default_rng(2)
    made = pack_rows(rng.integers(1, 20, (12, 2)), longest=20, width=width)
    maps = RowMaps.of(made.source_RW, segments=2, longest=20).map(torch.from_numpy)
    forms = [PackedSegments(maps, first_layer=int(bus), bus=True, flex=flex, causal=causal) for flex in (True, False)]
    query, key, value = torch.randn(3, len(made.source_RW), 2, width, 16, generator=torch.Generator().manual_seed(0))
    found = [form.attend(torch.nn.Identity(), query, key, value, None, scaling=0.3) for form in forms]
    assert (found[0] - found[1]).abs().max() < 1e-5
    everything = scaled_dot_product_attention(query, key, value, scale=0.3).transpose(1, 2)
    assert (found[0] - everything).abs().max() > 1e-2


def test_attention_dropout_is_the_configs(tmp_path: Path) -> None:
    plm = tiny_plm(tmp_path)
    for share, wanted in ((None, 0.1), (0.0, 0.0)):
        config = TextEncoderConfig(plm=plm, frozen_layers=0, vector_width=8, attention_dropout=share)
        layer: Any = TextEncoder(config).split.upper
        assert layer.encoder.layer[0].attention.self.dropout.p == wanted


def best_fit_by_search(tokens: list[int], width: int) -> list[tuple[int, int]]:
    """The obvious best fit, decreasing: every row is looked at for every item."""
    rows: list[int] = []  # free tokens
    found = [(0, 0)] * len(tokens)
    for item in sorted(range(len(tokens)), key=lambda n: -tokens[n]):
        if not tokens[item]:
            continue
        room = min((free for free in rows if free >= tokens[item]), default=None)
        row = len(rows) if room is None else max(n for n, free in enumerate(rows) if free == room)
        rows += [width] * (room is None)
        found[item] = (room or width, tokens[item])
        rows[row] -= tokens[item]
    return [*found, (len(rows), 0)]


@given(st.lists(st.integers(0, 32), min_size=1, max_size=60), st.sampled_from([32, 40, 128]))
@settings(deadline=None)
def test_rows_are_as_few_as_a_search_finds(tokens: list[int], width: int) -> None:
    _, offset_C, rows = best_fit(np.array(tokens), width)
    assert rows == best_fit_by_search(tokens, width)[-1][0]
    assert [(width - offset, size) if size else (0, 0) for offset, size in zip(offset_C, tokens, strict=True)] == (
        best_fit_by_search(tokens, width)[:-1]
    )
