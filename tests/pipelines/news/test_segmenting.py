from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipelines.news.segmenting import Language, NewsConfig, Segmenting
from schemas.errors import InputError
from schemas.news import FIELDS
from schemas.tokenizer_content import content_sha256
from tests.pipelines.news.toy_tokenizer import tokenizer_json

ENGLISH = Language(language="en", corpora={"title": 1, "body": 1})


def segmenting(*, tokens: int = 4, fields: tuple[str, ...] = ("title",)) -> Segmenting:
    return Segmenting(name="t", tokenizer_json=tokenizer_json(), tokens_per_segment=tokens, fields=fields)


def test_segments_stand_in_the_order_of_the_contract_whatever_the_order_asked() -> None:
    assert segmenting(fields=("body", "title")) == segmenting(fields=("title", "body"))


def test_the_hash_differs_where_segments_could() -> None:
    plain = segmenting()
    variants = [plain, segmenting(tokens=5), segmenting(fields=("title", "body")), replace(plain, select="score")]
    variants.append(replace(plain, category_first=True))
    languages = [
        ENGLISH,
        replace(ENGLISH, language="da"),
        replace(ENGLISH, corpora={"title": 2}),
        replace(ENGLISH, statistics="x"),
    ]
    found = {
        variant.sha256(language, FIELDS, near_duplicates=near)
        for variant in variants
        for language in languages
        for near in (None, 0.9)
    }
    assert len(found) == len(variants) * len(languages) * 2


def test_a_corpus_matters_to_those_alone_who_have_text_there() -> None:
    later = replace(ENGLISH, corpora={"title": 1, "body": 9})
    both = segmenting(fields=("title", "body"))
    assert both.sha256(ENGLISH, ("title",)) == both.sha256(later, ("title",))
    assert both.sha256(ENGLISH, FIELDS) != both.sha256(later, FIELDS)
    assert segmenting().sha256(ENGLISH, FIELDS) == segmenting().sha256(later, FIELDS)


def test_where_a_field_keeps_its_start_no_corpus_can_change_it() -> None:
    start = replace(segmenting(), select="start")
    assert start.sha256(ENGLISH, FIELDS) == start.sha256(Language(language="da", corpora={}), FIELDS)


def test_the_manifest_states_the_tokenizer() -> None:
    described = segmenting(fields=("title", "abstract")).describe()
    assert described.pop("tokenizer_sha256") == segmenting(tokens=9).describe()["tokenizer_sha256"]
    assert described.pop("tokenizer_content") == content_sha256(tokenizer_json())
    assert described == {
        "tokenizer": "t",
        "vocabulary": 7,
        "pad_id": 0,
        "special_tokens": 2,
        "tokens_per_segment": 4,
        "segments_per_item": 2,
        "fields": ["title", "abstract"],
        "select": "text",
        "category_first": False,
    }


def test_a_tokenizer_that_was_saved_again_makes_no_item_anew() -> None:
    own = segmenting()
    again = replace(own, tokenizer_json=json.dumps(json.loads(tokenizer_json()) | {"padding": None}, indent=2))
    assert again.tokenizer_json != own.tokenizer_json
    assert again.sha256(ENGLISH, FIELDS) == own.sha256(ENGLISH, FIELDS)
    other = replace(own, tokenizer_json=tokenizer_json().replace('"fox":5,"runs":6', '"fox":6,"runs":5'))
    assert other.tokenizer_json != own.tokenizer_json
    assert other.sha256(ENGLISH, FIELDS) != own.sha256(ENGLISH, FIELDS)


def test_a_file_that_is_no_tokenizer_is_named() -> None:
    with pytest.raises(InputError, match=r"broken: not a tokenizer\.json"):
        Segmenting(name="broken", tokenizer_json="{}").describe()


def test_a_tokenizer_without_special_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="adds no special tokens"):
        Segmenting(name="bare", tokenizer_json=tokenizer_json(special=False)).describe()


def test_a_segment_without_room_for_text_is_refused() -> None:
    wide = tokenizer_json().replace('"single":[', '"single":[{"SpecialToken":{"id":"[SEP]","type_id":0}},')
    assert wide != tokenizer_json()
    with pytest.raises(InputError, match=r"adds 3 special tokens to each text: use 4 or more"):
        Segmenting(name="wide", tokenizer_json=wide, tokens_per_segment=3).describe()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens_per_segment": 2}, "use 3 or more"),
        ({"fields": ("url",)}, "name one or more of"),
        ({"fields": ()}, "fields are"),
        ({"near_duplicates": 0.4}, "use a similarity from 0.5 to 1"),
        ({"new_corpus": True, "select": "start"}, "drop one"),
        ({"language": "xx"}, "--language xx: no list of stop words. Use one of af, ar,.*or none"),
        ({"tokenizer": "absent"}, "tokenizer absent: absent is no file"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NewsConfig(**options).segmenting()
