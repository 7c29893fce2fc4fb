"""A device's peak FLOPs: measured once, without a draw from the generators of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.cost.flops import PEAKS, LayerShape, forward_flops, layer_flops, peak_flops

CPU = torch.device("cpu")


def test_a_peak_is_measured_once_and_draws_nothing() -> None:
    peak_flops.cache_clear()
    before = torch.get_rng_state()
    first = peak_flops(CPU, bfloat16=False)
    assert 1e8 < first < 1e15
    assert peak_flops(CPU, bfloat16=False) == first
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_known_gpu_is_taken_at_its_word() -> None:
    device = torch.device("cuda")
    known = [peak for name, peak in PEAKS.items() if name in torch.cuda.get_device_name(device)]
    if not known:
        pytest.skip("this GPU is not in the table")
    assert peak_flops(device, bfloat16=True) == known[0]
    assert 0 < peak_flops(device, bfloat16=False) < known[0]


def test_one_layer_of_bert_base_by_hand() -> None:
    shape = LayerShape.bert(width=768, inner=3072, layers=1)
    assert forward_flops(shape, tokens=10, pairs=100) == 10 * 2 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 768 * 100
    assert layer_flops(shape, np.array([10, 20])) == 3 * forward_flops(shape, tokens=30, pairs=500)
