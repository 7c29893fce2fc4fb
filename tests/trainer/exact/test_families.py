"""The exactness rules hold on families whose layers are not BERT's, including those that cast to float32 inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.model.families import saved
from trainer.exact.proofs import once_vs_naive, replayed_vs_kept
from trainer.exact.scene import Scene, SceneConfig
from trainer.model.text_encoder import TextEncoderConfig


@pytest.mark.parametrize(
    ("name", "asked"),
    [("T5", {}), ("Qwen3", {"row_tokens": 32}), ("GPT-2", {}), ("BART", {"bus": True}), ("XLNet", {})],
)
def test_encoding_once_loses_no_gradient(name: str, asked: dict[str, Any], tmp_path: Path) -> None:
    encoder = TextEncoderConfig(plm=saved(name, tmp_path), frozen_layers=0, pooling_width=8, **asked)
    scene = Scene(SceneConfig(encoder=encoder, items=8, steps=2))
    for proof in (once_vs_naive(scene), replayed_vs_kept(scene)):
        assert proof.holds, proof
