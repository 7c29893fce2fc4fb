"""A tokenizer saved again is the same tokenizer; one that makes other token ids is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from schemas.manifest import Tokens
from schemas.tokenizer_content import content_sha256
from trainer.model.weights_folder import plm_path, tokenizer_file


def bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "<s>": 3, "c": 4, "abc": 5}, [("a", "b"), ("ab", "c")]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    return tokenizer


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    raw = json.loads(bpe().to_str())
    change(raw)
    return json.dumps(raw)


def as_older_versions_write(raw: dict[str, Any]) -> None:
    raw["model"]["merges"] = [" ".join(merge) for merge in raw["model"]["merges"]]
    del raw["model"]["ignore_merges"]
    del raw["model"]["byte_fallback"]
    raw["model"]["vocab"] = dict(reversed(raw["model"]["vocab"].items()))


def with_truncation(raw: dict[str, Any]) -> None:
    raw["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}


@pytest.mark.parametrize("change", [as_older_versions_write, with_truncation])
def test_what_does_not_change_token_ids_does_not_count(change: Callable[[dict[str, Any]], object]) -> None:
    assert content_sha256(changed(change)) == content_sha256(bpe().to_str(pretty=True)) != ""


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["model"]["vocab"].update({"ab": 4, "c": 2}),
        lambda raw: raw["model"]["merges"].reverse(),
        lambda raw: raw.update(normalizer=None),
        lambda raw: raw.update(pre_tokenizer={"type": "WhitespaceSplit"}),
        lambda raw: raw.update(post_processor=None),
        lambda raw: raw["added_tokens"][0].update(lstrip=True),
        lambda raw: raw["model"].update(ignore_merges=True),
    ],
    ids=["vocabulary", "merges", "normaliser", "pre-tokenizer", "post-processor", "special tokens", "ignore_merges"],
)
def test_what_changes_token_ids_counts(change: Callable[[dict[str, Any]], object]) -> None:
    assert content_sha256(changed(change)) != content_sha256(bpe().to_str())


def test_transformers_saves_minilms_tokenizer_as_another_file_with_the_same_content(tmp_path: Path) -> None:
    own = tokenizer_file("minilm")
    assert own is not None
    AutoTokenizer.from_pretrained(plm_path("minilm")).save_pretrained(tmp_path)
    before, after = own.read_text(), (tmp_path / "tokenizer.json").read_text()
    assert before != after
    assert content_sha256(before) == content_sha256(after) != ""


@pytest.mark.parametrize("text", ["", "[]", '{"model": 3}', "[" * 100_000])
def test_what_is_no_tokenizer_has_no_content(text: str) -> None:
    assert content_sha256(text) == ""


def test_directories_of_before_know_a_tokenizer_by_its_bytes_alone() -> None:
    now = Tokens(
        tokenizer="t", tokenizer_sha256="1", tokenizer_content="c", vocabulary=9, pad_id=0, special_tokens=2,
        tokens_per_segment=4, segments_per_item=1, fields=("title",), select="text", rows=2,
    )  # fmt: skip
    before = replace(now, tokenizer_content="")
    assert now.match_tokenizer("2", "c")
    assert now.match_tokenizer("1", "")
    assert not now.match_tokenizer("2", "d")
    assert not before.match_tokenizer("2", "")
    assert before.match_tokenizer("1", "c")
