"""Zero-shot is the language model as it was trained: without a bus, whatever the run's encoder has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.packed import VOCABULARY, tiny_plm
from tests.trainer.eval.impression_sets import evaluation
from trainer.eval.baselines import zero_shot_scores
from trainer.eval.impressions import Impressions
from trainer.exact.scene import random_tokens
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig

ITEMS = 8


def encoder_of(plm: str, **options: object) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextEncoderConfig(plm=plm, vector_width=8, pooling_width=8, **options)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("frozen_layers", [0, 1])
@pytest.mark.parametrize("row_tokens", [0, 64])
def test_an_untrained_bus_is_left_out(tmp_path: Path, frozen_layers: int, row_tokens: int) -> None:
    plm = tiny_plm(tmp_path / "plm")
    table = random_tokens(np.random.default_rng(1), ITEMS, vocabulary=VOCABULARY)
    items = ItemInput(table, device=torch.device("cpu"))
    impressions = Impressions.of(
        evaluation({"history_row": [1, 2, 3], "shown_row": [4, 5]}, {"history_row": [6], "shown_row": [7, 8, 1]})
    )
    plain, bus = (encoder_of(plm, frozen_layers=frozen_layers, row_tokens=row_tokens, bus=bus) for bus in (False, True))
    rows = np.arange(1, ITEMS + 1)
    with torch.no_grad():
        assert not torch.allclose(plain.pooled(rows, items), bus.pooled(rows, items), atol=1e-4)  # it has an effect
    wanted = zero_shot_scores(plain, items, impressions)
    assert zero_shot_scores(bus, items, impressions) == pytest.approx(wanted, abs=1e-5)
    assert bus.split.bus
