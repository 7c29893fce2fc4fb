from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from tokenizers.processors import TemplateProcessing

from pipelines.news.refine import Corpus
from pipelines.news.segment import Refinement, Segmenter, segment_columns
from pipelines.news.segmenting import Segmenting
from pipelines.news.stop_words import stop_words
from pipelines.news.tokenizer_file import DEFAULT, load_tokenizer
from tests.pipelines.news.toy_tokenizer import tokenizer_json

TOY = Segmenting(name="t", tokenizer_json=tokenizer_json(), tokens_per_segment=4)
NAME, TEXT = load_tokenizer(DEFAULT)
MINILM = Segmenting(name=NAME, tokenizer_json=TEXT, tokens_per_segment=8)
ENGLISH = {"s": Refinement(stop_words("en"), {})}


def columns(
    segmenting: Segmenting, refinements: Mapping[str, Refinement] = ENGLISH, **texts: list[str]
) -> dict[str, list[Any]]:
    items = len(next(iter(texts.values())))
    made = segment_columns(Segmenter(segmenting, refinements), ["s"] * items, texts)
    return {name.removeprefix("segment_"): column.to_pylist() for name, column in made.items()}


def words(tokens: list[int], segmenting: Segmenting = MINILM) -> str:
    return segmenting.build().decode(tokens)


def test_a_text_that_fits_is_kept_as_it_is_without_padding() -> None:
    found = columns(TOY, title=["red fox", "fox", "cat", "fox the fox"])
    assert found["tokens"] == [[[2, 4, 5, 3]], [[2, 5, 3]], [[2, 1, 3]], [[2, 5, 3]]]
    assert found["full_tokens"] == [[4], [3], [3], [5]]
    assert found["frequency"] == [[[]], [[]], [[]], [[0, 2, 0]]]
    assert found["position"] == [[[]], [[]], [[]], [[0, 1, 0]]]


def test_each_field_that_holds_text_is_a_segment() -> None:
    found = columns(TOY, title=["red", "", ""], body=["fox", "runs", ""])
    assert found["tokens"] == [[[2, 4, 3], [2, 5, 3]], [[2, 6, 3]], [[2, 3]]]
    assert found["field"] == [[0, 2], [2], [0]]  # no text at all: the first field's, empty


def test_no_items_give_no_segments() -> None:
    assert [len(column) for column in columns(TOY, title=[]).values()] == [0] * 5


def test_special_tokens_written_in_a_text_are_text() -> None:
    assert columns(TOY, title=["[SEP]"])["tokens"][0][0].count(3) == 1
    ids = columns(replace(MINILM, tokens_per_segment=32), title=["before [SEP] after [CLS] [PAD]"])["tokens"][0][0]
    assert [ids.count(special) for special in (101, 102, 0)] == [1, 1, 0]


def test_a_long_field_keeps_its_keywords_in_text_order_with_how_often_and_where() -> None:
    corpus = Corpus({"volcano": 5.0, "harbour": 4.0, "erupts": 3.0, "pumpernickel": 2.0}, 0.1)
    refinements = {"s": Refinement(stop_words("en"), {"title": corpus})}
    text = "The harbour, below the volcano: it erupts and erupts. Pumpernickel bread"
    found = columns(MINILM, refinements, title=[text])
    # six pieces: harbour, volcano, erupts (er ##up ##ts), and of the rest what fits
    assert words(found["tokens"][0][0]) == "harbour volcano erupts bread"
    assert found["frequency"][0][0] == [0, 1, 1, 2, 2, 2, 1, 0]
    assert found["position"][0][0] == [0, 2, 6, 8, 8, 8, 13, 0]
    assert found["full_tokens"][0][0] == len(MINILM.build().encode(text).ids)
    by_text, by_score = (replace(MINILM, select=select, tokens_per_segment=6) for select in ("text", "score"))
    assert words(columns(by_text, refinements, title=[text])["tokens"][0][0]) == "harbour volcano bread"
    assert words(columns(by_score, refinements, title=[text])["tokens"][0][0]) == "volcano erupts"
    start = columns(replace(MINILM, select="start"), refinements, title=[text])
    assert words(start["tokens"][0][0]) == "the harbour, below the volcano"
    assert start["frequency"] == [[[]]]


@pytest.mark.parametrize("text", ["the of and " * 5, "😀 " * 40, "......" * 9, "字" * 50], ids=lambda text: text[:3])
def test_where_no_keyword_fits_a_long_field_keeps_its_start(text: str) -> None:
    found = columns(MINILM, title=[text])
    assert found["tokens"] == columns(replace(MINILM, select="start"), title=[text])["tokens"]
    assert (len(found["tokens"][0][0]), found["frequency"]) == (8, [[[]]])


def test_a_source_without_refinement_keeps_the_start() -> None:
    assert columns(TOY, {}, title=["red fox runs"])["tokens"] == [[[2, 4, 5, 3]]]


def test_long_and_short_texts_come_out_in_their_order() -> None:
    texts = [f"{'fox runs ' * (place % 3)}red" for place in range(300)]
    texts.insert(150, "fox " * 200_000)  # longer than what is encoded at once
    one_by_one = [columns(TOY, title=[text])["tokens"][0] for text in texts]
    assert columns(TOY, title=texts)["tokens"] == one_by_one


def test_every_script_is_refined_by_its_words() -> None:
    texts = {
        "ar": "أعلنت الحكومة اليوم عن خطة جديدة لتطوير التعليم في جميع المدارس",
        "he": "שָׁלוֹם לכל הילדים שחזרו היום אל בתי הספר ברחבי הארץ",
        "hi": "सरकार ने आज विद्यालयों के लिए एक नई शिक्षा नीति की घोषणा की",
        "da": "Regeringen præsenterede i dag en ny plan for folkeskolerne i hele landet",
    }
    for language, text in texts.items():
        refinements = {"s": Refinement(stop_words(language), {})}
        found = columns(replace(MINILM, tokens_per_segment=16), refinements, title=[text])
        places = sorted(set(found["position"][0][0]) - {0})
        kept = [text.lower().split()[place - 1].strip(".,") for place in places]
        assert len(kept) >= 1, language
        assert not set(kept) & stop_words(language), language


def _framed(tokenizer: Tokenizer) -> str:
    tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return tokenizer.to_str()


def byte_level() -> str:
    """As RoBERTa's: a space is the first letter of its word."""
    letters = {letter: place for place, letter in enumerate(ByteLevel.alphabet(), 2)}
    tokenizer = Tokenizer(BPE({"<s>": 0, "</s>": 1} | letters, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return _framed(tokenizer)


def sentence_piece() -> str:
    """As XLM-R's: a sign for the space, alone where its word is unknown."""
    pieces = ["<s>", "</s>", "<unk>", "▁", "▁alpha", "gamma", "b", "e", "t", "a"]
    tokenizer = Tokenizer(Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    tokenizer.pre_tokenizer = Metaspace()
    return _framed(tokenizer)


@pytest.mark.parametrize("kind", [byte_level, sentence_piece])
def test_a_word_keeps_the_pieces_that_its_tokenizer_gives_it(kind: Any) -> None:
    segmenting = Segmenting(name="k", tokenizer_json=kind(), tokens_per_segment=14)
    found = columns(segmenting, {"s": Refinement(frozenset(), {})}, title=["alpha beta gamma " * 4])
    tokenizer = segmenting.build()
    alone = [tokenizer.encode(f" {word}" if place else word, add_special_tokens=False).ids
             for place, word in enumerate(["alpha", "beta", "gamma"])]  # fmt: skip
    wanted, at = [0], [0]
    for place, ids in enumerate(alone, 1):
        if len(wanted) + len(ids) <= 13:
            wanted += ids
            at += [place] * len(ids)
    assert (found["tokens"][0][0], found["position"][0][0]) == ([*wanted, 1], [*at, 0])
    assert set(found["frequency"][0][0]) == {0, 4}
