"""Small random models of families of language models: those that go through transformers' attention interface."""

from __future__ import annotations

from typing import Any

from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.packed import VOCABULARY

SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def families() -> list[Any]:
    """One model of each, of two layers."""
    return [
        BertModel(BertConfig(num_hidden_layers=2, **SMALL)),
        RobertaModel(RobertaConfig(num_hidden_layers=2, **SMALL)),
        XLMRobertaModel(XLMRobertaConfig(num_hidden_layers=2, **SMALL)),
        ElectraModel(ElectraConfig(num_hidden_layers=2, embedding_size=8, **SMALL)),
        AlbertModel(AlbertConfig(num_hidden_layers=2, embedding_size=8, **SMALL)),
        DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, dim=16, n_heads=2, hidden_dim=32, n_layers=2)),
        ModernBertModel(ModernBertConfig(num_hidden_layers=2, pad_token_id=0, **SMALL)),
    ]


def name_of(plm: Any) -> str:
    """The test's id."""
    return type(plm).__name__
