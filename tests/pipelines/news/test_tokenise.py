from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from pipelines.news.tokenise import DEFAULT, Segmenting, load_tokenizer, segment
from schemas.errors import InputError

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "red": 4, "fox": 5, "runs": 6}


def tokenizer_json(*, special: bool = True) -> str:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if special:
        tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=20)  # as MiniLM's file does: segments must come out unpadded all the same
    return tokenizer.to_str()


def segmenting(*, tokens: int = 4, fields: tuple[str, ...] = ("title",)) -> Segmenting:
    return Segmenting(name="t", tokenizer_json=tokenizer_json(), tokens_per_segment=tokens, fields=fields)


def test_a_text_is_cut_at_the_last_token_that_fits_and_not_padded() -> None:
    field, tokens = segment(segmenting().build(), [["red fox runs", "fox", "cat"]], [0])
    assert tokens.to_pylist() == [[[2, 4, 5, 3]], [[2, 5, 3]], [[2, 1, 3]]]
    assert field.to_pylist() == [[0], [0], [0]]


def test_each_field_that_holds_text_is_a_segment() -> None:
    field, tokens = segment(segmenting().build(), [["red", "", ""], ["fox", "runs", ""]], [0, 2])
    assert tokens.to_pylist() == [[[2, 4, 3], [2, 5, 3]], [[2, 6, 3]], [[2, 3]]]
    assert field.to_pylist() == [[0, 2], [2], [0]]  # no text at all: the first field's, empty


def test_no_items_give_no_segments() -> None:
    assert [len(column) for column in segment(segmenting().build(), [[]], [0])] == [0, 0]


def test_segments_stand_in_the_order_of_the_contract_whatever_the_order_asked() -> None:
    assert segmenting(fields=("body", "title")) == segmenting(fields=("title", "body"))


def test_the_hash_differs_where_segments_could() -> None:
    variants = [segmenting(), segmenting(tokens=5), segmenting(fields=("title", "body"))]
    assert len({variant.sha256 for variant in variants}) == 3
    assert segmenting().sha256 == segmenting().sha256


def test_the_manifest_is_told_which_tokenizer_it_was() -> None:
    told = segmenting(fields=("title", "abstract")).described()
    assert told.pop("tokenizer_sha256") == segmenting(tokens=9).described()["tokenizer_sha256"]
    assert told == {
        "tokenizer": "t",
        "vocabulary": 7,
        "pad_id": 0,
        "tokens_per_segment": 4,
        "segments_per_item": 2,
    }


def test_a_tokenizer_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(tokenizer_json())
    assert load_tokenizer(str(file)) == load_tokenizer(str(file.parent)) == ("model", tokenizer_json())


def test_the_default_is_the_installed_language_model() -> None:
    name, text = load_tokenizer(DEFAULT)
    assert (name, len(json.loads(text)["model"]["vocab"])) == ("minilm", 30522)


def test_a_missing_tokenizer_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent is no file. Name a tokenizer.json, a folder .* or minilm"):
        load_tokenizer(str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"tokenizer.json is no file"):
        load_tokenizer(str(tmp_path))


def test_a_file_that_is_no_tokenizer_is_named() -> None:
    with pytest.raises(InputError, match=r"broken: not a tokenizer\.json"):
        Segmenting(name="broken", tokenizer_json="{}").described()


def test_a_tokenizer_without_special_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="puts nothing around a text"):
        Segmenting(name="bare", tokenizer_json=tokenizer_json(special=False)).described()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tokens": 2}, "use 3 or more"), ({"fields": ("url",)}, "name one or more of"), ({"fields": ()}, "fields are")],
)
def test_options_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenting(**options)  # type: ignore[arg-type]
