"""The principal start: vectors of the training items are centred and keep their texts' inner products."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from tests.packed import packed_directory, tiny_plm
from trainer.config import TrainConfig
from trainer.model.item_vectors import encode_rows
from trainer.model.text_encoder import TextEncoderConfig
from trainer.setup.prepare import Prepared, prepare
from trainer.setup.principal_start import start_projection

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    encoder = TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), projection_start="principal", vector_width=32)
    return TrainConfig(encoder=replace(encoder, frozen_layers=1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed")


def ready(config: TrainConfig, data: Path) -> Prepared:
    return prepare(config, data, store=None, device=CPU, progress=lambda *_: None)


def both(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Pooled output and vectors of the items clicked in training."""
    encoder, items, rows = prepared.encoder.eval(), prepared.items, np.flatnonzero(prepared.clicks_V)
    pooled_ND = encode_rows(lambda row_C: encoder.pooled(row_C, items), items, rows)
    return pooled_ND, encode_rows(lambda row_C: encoder(row_C, items), items, rows)


def test_all_axes_keep_inner_products_of_centred_texts(config: TrainConfig, data: Path) -> None:
    prepared = ready(config, data)
    start_projection(prepared)
    pooled_ND, vector_ND = both(prepared)
    centred_ND = pooled_ND - pooled_ND.mean(0)
    assert torch.allclose(vector_ND @ vector_ND.T, centred_ND @ centred_ND.T, atol=1e-4)
    assert torch.allclose(vector_ND.mean(0), torch.zeros(32), atol=1e-5)
    assert not torch.allclose(pooled_ND.mean(0), torch.zeros(32), atol=1e-2)  # or nothing was taken out
    assert prepared.encoder.training is False


def test_few_axes_keep_more_than_a_random_rotation_does(config: TrainConfig, data: Path) -> None:
    narrow = replace(config, encoder=replace(config.encoder, vector_width=4))
    random = ready(narrow, data)
    before = [parameter.clone() for parameter in random.model.parameters()]
    start_projection(replace(random, config=replace(narrow, encoder=TextEncoderConfig())))
    assert all(torch.equal(*pair) for pair in zip(before, random.model.parameters(), strict=True))  # orthogonal

    principal = ready(narrow, data)
    start_projection(principal)
    (pooled_ND, random_ND), (_, principal_ND) = both(random), both(principal)
    spread = (pooled_ND - pooled_ND.mean(0)).pow(2).sum()
    kept = [float((vector_ND - vector_ND.mean(0)).pow(2).sum() / spread) for vector_ND in (random_ND, principal_ND)]
    assert kept[0] < kept[1] <= 1


def test_more_axes_than_the_language_model_has_numbers_are_refused(config: TrainConfig, data: Path) -> None:
    wide = replace(config, encoder=replace(config.encoder, vector_width=33))
    with pytest.raises(InputError, match=r"gives 32 numbers: it has no more.*Lower it, or set .* = orthogonal"):
        start_projection(ready(wide, data))
