"""Loading and splitting a language model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2Model, T5EncoderModel

from schemas.errors import InputError
from tests.packed import tiny_plm
from tests.trainer.model.families import FAMILIES, saved
from tests.trainer.model.family_table import in_file
from trainer.model.pretrained import load_plm
from trainer.model.split_encoder import SplitEncoder
from trainer.model.weights_folder import tokenizer_file

IDS = torch.tensor([[1, 7, 9, 2, 0, 0], [1, 8, 3, 5, 6, 2]])
MASK = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])


def test_minilm_from_its_package_splits_exactly() -> None:
    plm = load_plm("minilm").eval()
    reference = plm(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    for frozen in (1, 5):
        split = SplitEncoder(plm, frozen_layers=frozen).eval()
        assert (split(split.lower(IDS, MASK), MASK) - reference)[MASK].abs().max() < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_split_at_any_layer_gives_its_librarys_output(name: str, tmp_path: Path) -> None:
    plm = load_plm(saved(name, tmp_path)).eval()
    with torch.no_grad():
        reference = plm(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
        for frozen in (0, 1, 2) if in_file()[name]["frozen_layers"] == "yes" else (0,):
            split = SplitEncoder(plm, frozen_layers=frozen).eval()
            hidden = split(split.lower(IDS, MASK), MASK) if frozen else split(IDS, MASK)
            assert (hidden - reference)[MASK].abs().max() < 1e-5
            assert frozen == 0 or len(split.trained_layers) == 3 - frozen


def test_only_the_upper_layers_are_trained_and_saved(tmp_path: Path) -> None:
    split = SplitEncoder(load_plm(tiny_plm(tmp_path, layers=3)), frozen_layers=2)
    assert {name.split(".")[1] for name in split.state_dict()} == {"0"}
    assert all(p.requires_grad for p in split.parameters())
    assert split.train()._lower[0].training is False


@pytest.mark.parametrize(("name", "reason"), [("ALBERT", "albert_layer_groups': 1"), ("XLM", "lists of layers are")])
def test_a_family_without_a_list_of_its_own_layers_is_an_error_with_advice(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{reason}.*Set encoder\.frozen_layers = 0"):
        SplitEncoder(FAMILIES[name](), frozen_layers=1)


def test_layers_that_share_their_weights_are_not_split(tmp_path: Path) -> None:
    plm = load_plm(tiny_plm(tmp_path))
    plm.encoder.layer[1] = plm.encoder.layer[0]
    with pytest.raises(InputError, match=r"share their weights.*Set encoder\.frozen_layers = 0"):
        SplitEncoder(plm, frozen_layers=1)


def test_freezing_every_layer_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 layers: leave one to train"):
        SplitEncoder(load_plm(tiny_plm(tmp_path)), frozen_layers=2)


def test_weights_that_would_be_random_raise_an_error(tmp_path: Path) -> None:
    folder = Path(tiny_plm(tmp_path))
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"lack 1 tensors .*layer\.1\.output\.dense\.weight"):
        load_plm(str(folder))


def test_weights_that_are_cut_short_raise_an_error(tmp_path: Path) -> None:
    file = Path(tiny_plm(tmp_path)) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="does not load"):
        load_plm(str(tmp_path))


def test_a_path_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"plm '.*nothing' does not load.*minilm"):
        load_plm(str(tmp_path / "nothing"))


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a saved model, and the file gone."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    return weights


def same_weights(folder: str, other: str) -> bool:
    ours, theirs = load_plm(folder).state_dict(), load_plm(other).state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours if "pooler" not in n)


def test_weights_of_data_parallel_and_of_torch_load(tmp_path: Path) -> None:
    plain, older = (tiny_plm(tmp_path / name) for name in ("plain", "older"))
    weights = weights_in(Path(older))
    torch.save({f"module.bert.{name}": tensor for name, tensor in weights.items()}, Path(older) / "pytorch_model.bin")
    assert same_weights(older, plain)


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    folder = Path(tiny_plm(tmp_path / "plm"))
    weights_in(folder)

    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "was_run"),)

    torch.save({"bert.embeddings.word_embeddings.weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="does not load"):
        load_plm(str(folder))
    assert not (tmp_path / "was_run").exists()


def test_old_sentence_transformers_keep_the_model_in_a_folder_of_its_own(tmp_path: Path) -> None:
    tiny_plm(tmp_path / "old" / "0_Transformer")
    (tmp_path / "old" / "0_Transformer" / "tokenizer.json").write_text("{}")
    (tmp_path / "old" / "1_Pooling").mkdir()
    (tmp_path / "old" / "1_Pooling" / "config.json").write_text("{}")
    assert same_weights(str(tmp_path / "old"), tiny_plm(tmp_path / "new"))
    assert tokenizer_file(str(tmp_path / "old")) == tmp_path / "old" / "0_Transformer" / "tokenizer.json"


def test_an_encoder_decoder_gives_its_encoder(tmp_path: Path) -> None:
    t5 = FAMILIES["T5"]()
    t5.save_pretrained(tmp_path / "both")
    T5EncoderModel.from_pretrained(tmp_path / "both").save_pretrained(tmp_path / "encoder")  # as sentence-t5 has it
    assert same_weights(str(tmp_path / "both"), str(tmp_path / "encoder"))
    bart = load_plm(saved("BART", tmp_path / "bart"))
    assert not any("decoder" in name for name in bart.state_dict())


@pytest.mark.parametrize(("name", "longest"), [("RoBERTa", 510), ("XLM-RoBERTa", 510), ("BERT", 512), ("BART", 1024)])
def test_positions_of_roberta_begin_after_the_pad(name: str, longest: int) -> None:
    plm = FAMILIES[name]()
    plm = plm.get_encoder() if name == "BART" else plm
    assert SplitEncoder(plm, frozen_layers=0).longest == longest
    ids = torch.full((1, longest), 7)
    assert plm(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape[1] == longest


def test_a_pad_beyond_all_positions_is_none_of_them() -> None:
    plm = GPT2Model(GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=64, pad_token_id=150))
    assert SplitEncoder(plm, frozen_layers=0).longest == 64


def test_a_config_without_a_limit_has_none() -> None:
    assert SplitEncoder(FAMILIES["XLNet"](), frozen_layers=0).longest > 1_000_000


def test_attention_dropout_that_a_family_does_not_have_raises_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none to set\. Leave the option out"):
        load_plm(saved("XLNet", tmp_path), attention_dropout=0.0)
