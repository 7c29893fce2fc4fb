from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.news.tokenizer_file import DEFAULT, load_tokenizer
from schemas.errors import InputError
from tests.pipelines.news.toy_tokenizer import tokenizer_json


def test_a_tokenizer_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(tokenizer_json())
    assert load_tokenizer(str(file)) == load_tokenizer(str(file.parent)) == ("model", tokenizer_json())


def test_old_sentence_transformers_keep_it_in_a_folder_of_its_own(tmp_path: Path) -> None:
    inner = tmp_path / "0_Transformer"
    inner.mkdir()
    (inner / "config.json").write_text("{}")
    (inner / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(InputError, match=r"0_Transformer/tokenizer.json is no file. Its tokenizer is in an older form"):
        load_tokenizer(str(tmp_path))
    (inner / "tokenizer.json").write_text(tokenizer_json())
    assert load_tokenizer(str(tmp_path)) == (tmp_path.name, tokenizer_json())


def test_the_default_is_the_installed_language_model() -> None:
    name, text = load_tokenizer(DEFAULT)
    assert (name, len(json.loads(text)["model"]["vocab"])) == ("minilm", 30522)


def test_a_missing_tokenizer_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent is no file. Name a tokenizer.json, a folder .* or minilm"):
        load_tokenizer(str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"tokenizer.json is no file"):
        load_tokenizer(str(tmp_path))
