"""The proofs hold on a tiny encoder, and each control fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packed import tiny_plm
from trainer.exact.proofs import EXACT, prove
from trainer.exact.scene import Scene, SceneConfig
from trainer.model.text_encoder import TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig


@pytest.mark.parametrize("seed", [1, 2])
def test_every_rule_is_exact_and_none_without_its_mechanism(tmp_path: Path, seed: int) -> None:
    encoder = TextEncoderConfig(plm=tiny_plm(tmp_path / "plm"), pooling_width=8, bus=True)
    user = UserEncoderConfig(attention_width=8, model="nrms" if seed == 2 else "autoregressive")
    proofs = prove(Scene(SceneConfig(encoder=encoder, user=user, seed=seed)), ranks=seed == 1)
    assert len(proofs) == 8 + (seed == 1)
    wrong = {name: proof for name, proof in proofs.items() if not proof.holds}
    assert not wrong
    assert max(proof.difference for proof in proofs.values()) < EXACT / 1000
