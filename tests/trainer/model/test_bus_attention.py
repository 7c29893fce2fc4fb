"""The bus: equal to one long row under a mask, without effect on one segment, an error for families that ignore it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.packed import VOCABULARY, tiny_plm
from tests.trainer.model.families import families, name_of
from tests.trainer.model.family_table import tried
from trainer.exact.scene import random_tokens
from trainer.model.item_input import ItemInput
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig

MASK = torch.tensor(
    [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]]
)
PRESENT = torch.tensor([[True, True, True], [True, True, False]])  # two items of three segments; the last is absent


def segments(seed: int = 0) -> tuple[Tensor, Tensor]:
    ids_XT = torch.from_numpy(np.random.default_rng(seed).integers(5, VOCABULARY, (6, 5)))
    ids_XT[:, 0] = 1
    return ids_XT, MASK.bool()


def one_long_row(plm: Any, ids_XT: Tensor, mask_XT: Tensor) -> Tensor:
    """The obvious form: an item's segments end to end, positions from 0 in each, a mask over all pairs of tokens."""
    items, tokens = PRESENT.shape[0], ids_XT.shape[1]
    long = ids_XT.reshape(items, -1)
    place = torch.arange(long.shape[1])
    segment, offset = place // tokens, place % tokens
    hidden = plm.embeddings(input_ids=long, position_ids=offset.expand(items, -1))
    real = (mask_XT.reshape(items, -1)) & PRESENT[:, segment]
    same = segment[:, None] == segment[None, :]
    for number, layer in enumerate(plm.encoder.layer):
        seen = same | ((offset == 0)[None, :] & (number > 0))
        visible = (seen & real[:, None, :]) | torch.eye(len(place), dtype=torch.bool)  # a pad sees itself
        output = layer(hidden, attention_mask=visible[:, None])
        hidden = output[0] if isinstance(output, tuple) else output
    return hidden.reshape(len(ids_XT), tokens, -1)


def test_it_equals_one_long_row_under_a_mask(tmp_path: Path) -> None:
    ids_XT, mask_XT = segments()
    real = mask_XT & PRESENT.reshape(-1, 1)
    wanted = one_long_row(load_plm(tiny_plm(tmp_path, layers=3)).eval(), ids_XT, mask_XT)[real]
    for frozen in (0, 1):  # layer 0 has no bus, so that freezing it changes nothing
        split = SplitEncoder(load_plm(tiny_plm(tmp_path, layers=3)), frozen_layers=frozen, bus=True).eval()
        found = split(split.lower(ids_XT, mask_XT) if frozen else ids_XT, mask_XT, PRESENT)[real]
        assert (found - wanted).abs().max() < 1e-5
    apart = split(split.lower(ids_XT, mask_XT), mask_XT)[real]
    assert (apart - wanted).abs().max() > 1e-3


def test_one_minilm_segment_equals_the_library_with_the_bus_on_and_off() -> None:
    ids_XT, mask_XT = segments()
    plain = load_plm("minilm").eval()
    reference = plain(input_ids=ids_XT, attention_mask=mask_XT.long()).last_hidden_state
    for bus in (False, True):
        split = SplitEncoder(load_plm("minilm"), frozen_layers=0, bus=bus).eval()
        hidden = split(ids_XT, mask_XT, torch.ones(6, 1, dtype=torch.bool))
        assert (hidden - reference)[mask_XT].abs().max() < 1e-5


def test_another_segment_changes_a_vector_and_another_item_does_not(tmp_path: Path) -> None:
    table = random_tokens(np.random.default_rng(3), 12, vocabulary=VOCABULARY)
    many = [row for row in range(1, 13) if np.diff(table.segment_start_V1)[row] > 1][:2]
    (item, other), items = many, ItemInput(table, device=torch.device("cpu"))
    config = TextEncoderConfig(plm=tiny_plm(tmp_path), frozen_layers=0, vector_width=8, pooling_width=8, bus=True)
    encoder = TextEncoder(config).eval()
    with torch.no_grad():
        encoder.segment_pool.query.weight.fill_(1.0)
        alone = encoder(np.array([item]), items)
        assert torch.allclose(encoder(np.array([item, other, 0]), items)[0], alone[0], atol=1e-6)
        pooled = TextEncoder(config).eval()
        pooled.load_state_dict(encoder.state_dict())
        pooled.split.bus = False
        assert (pooled(np.array([item]), items) - alone).abs().max() > 1e-5


@pytest.mark.parametrize("plm", families(), ids=name_of)
def test_families_that_support_the_bus(plm: Any) -> None:
    split = SplitEncoder(plm, frozen_layers=0, bus=True).eval()
    ids_XT, mask_XT = segments()
    before = split(ids_XT, mask_XT, PRESENT)
    changed = ids_XT.clone()
    changed[1, 1] += 1
    after = split(changed, mask_XT, PRESENT)
    moved = [(before - after)[x][mask_XT[x]].abs().max() > 1e-7 for x in range(6)]
    assert moved == [True, True, True, False, False, False]
    changed = ids_XT.clone()
    changed[5, 0] += 1  # an absent segment
    assert torch.allclose(split(changed, mask_XT, PRESENT)[:5], before[:5], atol=1e-6)


def test_one_layer_alone_has_no_bus(tmp_path: Path) -> None:
    plm = tiny_plm(tmp_path, layers=1)
    assert "one layer only" in tried(plm, bus=True).refused
    assert not tried(plm).refused
