"""A tokenizer of seven words, one token each."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "fox": 5, "runs": 6}


def tokenizer_json(*, special: bool = True) -> str:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, "[UNK]"))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.pre_tokenizer = Whitespace()
    if special:
        tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=20)  # as MiniLM's file does: segments must come out unpadded all the same
    tokenizer.enable_truncation(3)
    return tokenizer.to_str()
