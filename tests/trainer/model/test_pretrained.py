"""Loading and splitting a language model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model, RobertaConfig
from transformers import RobertaModel as Roberta

from schemas.errors import InputError
from tests.packed import VOCABULARY, tiny_plm
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder

IDS = torch.tensor([[1, 7, 9, 2, 0, 0], [1, 8, 3, 5, 6, 2]])
MASK = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])


def test_minilm_from_its_package_splits_exactly() -> None:
    plm = load_plm("minilm").eval()
    whole = plm(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    for frozen in (1, 5):
        split = SplitEncoder(plm, frozen_layers=frozen).eval()
        assert (split(split.lower(IDS, MASK), MASK) - whole)[MASK].abs().max() < 1e-5


SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(
    "plm",
    [
        BertModel(BertConfig(num_hidden_layers=3, **SMALL)),
        Roberta(RobertaConfig(num_hidden_layers=3, **SMALL)),
        DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_heads=2, hidden_dim=32, n_layers=3)),
    ],
    ids=["bert", "roberta", "distilbert"],
)
def test_bert_shaped_families_split_anywhere(plm: torch.nn.Module) -> None:
    plm.eval()
    whole = plm(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    for frozen in (0, 1, 2):
        split = SplitEncoder(plm, frozen_layers=frozen).eval()
        hidden = split(split.lower(IDS, MASK), MASK) if frozen else split(IDS, MASK)
        assert (hidden - whole)[MASK].abs().max() < 1e-5


def test_only_the_upper_layers_are_trained_and_saved(tmp_path: Path) -> None:
    split = SplitEncoder(load_plm(tiny_plm(tmp_path, layers=3)), frozen_layers=2)
    assert {name.split(".")[1] for name in split.state_dict()} == {"0"}
    assert all(p.requires_grad for p in split.parameters())
    assert split.train()._lower[0].training is False


def test_a_family_that_cannot_be_split_is_refused_with_the_way_out() -> None:
    plm = GPT2Model(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(InputError, match=r"Set encoder\.frozen_layers = 0"):
        SplitEncoder(plm, frozen_layers=1)


def test_freezing_every_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 layers: leave one to train"):
        SplitEncoder(load_plm(tiny_plm(tmp_path)), frozen_layers=2)


def test_weights_that_would_be_random_are_refused(tmp_path: Path) -> None:
    folder = Path(tiny_plm(tmp_path))
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"lack 1 tensors .*layer\.1\.output\.dense\.weight"):
        load_plm(str(folder))


def test_weights_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    file = Path(tiny_plm(tmp_path)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="does not load"):
        load_plm(str(tmp_path))


def test_a_path_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"plm '.*nothing' does not load.*minilm"):
        load_plm(str(tmp_path / "nothing"))
