"""bench encoder runs with only torch, transformers and numpy, and counts multiplications as torch does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from tests.jobs.bench.bare import bench
from trainer.cost.encoder_speed import SIZES, SpeedConfig
from trainer.cost.flops import LayerShape, layer_flops


def test_runs_without_spark_petastorm_and_command_line_libraries(tmp_path: Path) -> None:
    done = bench(tmp_path, "encoder", "--size", "tiny", "--segments", "64", "--repeats", "1", "--no-bfloat16")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = lines[-1]
    loads = ["full", "titles", "rows_sdpa", "rows_flex"]
    assert [[name for name in loads if name in line] for line in lines[:4]] == [loads[: n + 1] for n in range(4)]
    assert found["full"]["hardware_mfu"] == found["full"]["useful_mfu"] > 0
    assert 0 < found["titles"]["useful_mfu"] < found["titles"]["hardware_mfu"]
    assert found["rows_sdpa"]["tokens_per_second"] > 0
    assert found["rows_sdpa"]["hardware_mfu"] < 2 * found["rows_sdpa"]["useful_mfu"]  # rows of 128 have little padding
    assert found["full"]["peak_bytes"] > found["titles"]["peak_bytes"] > 0
    assert found["rows_flex"]["left_out"].startswith("not on a cpu")
    refused = bench(tmp_path, "encoder", "--size", "huge")
    assert refused.returncode == 2
    assert "use tiny, minilm, base" in refused.stderr


@pytest.mark.parametrize("size", ["tiny", "minilm"])
def test_the_formula_counts_what_torch_counts(size: str) -> None:
    shape = BertConfig(attn_implementation="eager", **SIZES[size])
    model = BertModel(shape, add_pooling_layer=False)
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(5, 30_000, (3, 20))).last_hidden_state.sum().backward()
    layers = LayerShape.bert(width=shape.hidden_size, inner=shape.intermediate_size, layers=shape.num_hidden_layers)
    assert layer_flops(layers, np.full(3, 20)) == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"--loads names \['rows'\]: use full, titles, rows_sdpa, rows_flex"):
        SpeedConfig(loads=("full", "rows"))
    with pytest.raises(ValueError, match="--tokens 4 or more"):
        SpeedConfig(tokens=2)
    with pytest.raises(ValueError, match="a row must hold a segment of 32"):
        SpeedConfig(row_tokens=16)
