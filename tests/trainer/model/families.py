"""Small random models of families of language models, of three layers, or of two that go through one interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers.utils import logging as hf_logging

from tests.packed import VOCABULARY

hf_logging.set_verbosity_error()  # token ids of the large vocabularies that configs begin with
SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
_DECODER = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}


def _named(name: str, **more: Any) -> Any:
    config = getattr(hf, f"{name}Config")(**{"num_hidden_layers": 3, **SMALL, **more})
    return getattr(hf, f"{name}Model")(config)


def _encoder_decoder(name: str) -> Any:
    sides = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in _SIDE.items()}
    return getattr(hf, f"{name}Model")(getattr(hf, f"{name}Config")(vocab_size=VOCABULARY, d_model=16, **sides))


_SIDE = {"layers": 3, "attention_heads": 2, "ffn_dim": 32}


def _t5(name: str) -> Any:
    shape = getattr(hf, f"{name}Config")(vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
    return getattr(hf, f"{name}Model")(shape)


def _clip() -> Any:
    eyes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {**SMALL, "num_hidden_layers": 3, "eos_token_id": 2}
    return hf.CLIPModel(hf.CLIPConfig(text_config=words, vision_config={**eyes, "image_size": 32, "patch_size": 16}))


FAMILIES: dict[str, Callable[[], Any]] = {
    "ALBERT": lambda: _named("Albert", embedding_size=8),
    "BART": lambda: _encoder_decoder("Bart"),
    "BERT": lambda: _named("Bert"),
    "BigBird": lambda: _named("BigBird"),
    "BLOOM": lambda: hf.BloomModel(hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=3, n_head=2)),
    "CamemBERT": lambda: _named("Camembert"),
    "CLIP (text)": _clip,
    "ConvBERT": lambda: _named("ConvBert"),
    "data2vec (text)": lambda: _named("Data2VecText"),
    "DeBERTa": lambda: _named("Deberta"),
    "DeBERTa-v2": lambda: _named("DebertaV2"),
    "DistilBERT": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_heads=2, hidden_dim=32, n_layers=3)
    ),
    "ELECTRA": lambda: _named("Electra", embedding_size=8),
    "ERNIE": lambda: _named("Ernie"),
    "Funnel": lambda: hf.FunnelModel(
        hf.FunnelConfig(vocab_size=VOCABULARY, block_sizes=[3, 2], d_model=16, n_head=2, d_head=8, d_inner=32)
    ),
    "Gemma": lambda: _named("Gemma", head_dim=8, **_DECODER),
    "Gemma 2": lambda: _named("Gemma2", head_dim=8, **_DECODER),
    "GPT-2": lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=2)),
    "GPT-NeoX": lambda: _named("GPTNeoX", **_DECODER),
    "Llama": lambda: _named("Llama", **_DECODER),
    "Longformer": lambda: _named("Longformer", attention_window=8),
    "Mamba": lambda: _named("Mamba", **_DECODER),
    "Mistral": lambda: _named("Mistral", **_DECODER),
    "MobileBERT": lambda: _named("MobileBert"),
    "ModernBERT": lambda: _named("ModernBert", pad_token_id=0),
    "MPNet": lambda: _named("MPNet"),
    "mT5": lambda: _t5("MT5"),
    "OPT": lambda: hf.OPTModel(
        hf.OPTConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=3, ffn_dim=32, num_attention_heads=2,
            word_embed_proj_dim=16,
        )
    ),
    "Phi-3": lambda: _named("Phi3", **_DECODER),
    "Qwen2": lambda: _named("Qwen2", **_DECODER),
    "Qwen3": lambda: _named("Qwen3", head_dim=8, **_DECODER),
    "RemBERT": lambda: _named("RemBert", input_embedding_size=16, output_embedding_size=16),
    "RoBERTa": lambda: _named("Roberta"),
    "RoFormer": lambda: _named("RoFormer", pad_token_id=0),
    "T5": lambda: _t5("T5"),
    "UMT5": lambda: _t5("UMT5"),
    "XLM": lambda: hf.XLMModel(hf.XLMConfig(vocab_size=VOCABULARY, emb_dim=16, n_layers=3, n_heads=2)),
    "XLM-RoBERTa": lambda: _named("XLMRoberta"),
    "XLNet": lambda: hf.XLNetModel(hf.XLNetConfig(vocab_size=VOCABULARY, d_model=16, n_layer=3, n_head=2, d_inner=32)),
}  # fmt: skip


def saved(name: str, folder: Path) -> str:
    """A model of the family `name` in a folder, as a user would name one; its weights are those of one seed."""
    torch.manual_seed(0)
    hf_logging.disable_progress_bar()
    FAMILIES[name]().save_pretrained(folder)
    return str(folder)


def families() -> list[Any]:
    """One model of each that goes through transformers' attention interface and gets the bus, of two layers."""
    return [
        _named("Bert", num_hidden_layers=2),
        _named("Roberta", num_hidden_layers=2),
        _named("XLMRoberta", num_hidden_layers=2),
        _named("Electra", num_hidden_layers=2, embedding_size=8),
        _named("Albert", num_hidden_layers=2, embedding_size=8),
        hf.DistilBertModel(hf.DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_heads=2, hidden_dim=32, n_layers=2)),
        _named("ModernBert", num_hidden_layers=2, pad_token_id=0),
    ]


def name_of(plm: Any) -> str:
    """The test's id."""
    return type(plm).__name__
