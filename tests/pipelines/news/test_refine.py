from __future__ import annotations

import gzip
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.news.refine import Keyword, corpus_of, fitting, keywords_of, words_of

STOP = frozenset({"the", "of", "and", "to"})
ROOM = 30


class SlowCorpus:
    """Each formula of SpeedyFeed's refinement by itself."""

    def __init__(self, texts: list[str]) -> None:
        self.told = [re.findall(r"[\w]+|[.,!?;|]", text.lower()) for text in texts]
        held = [set(words) for words in self.told]
        n = len([words for words in held if words])
        df = {word: sum(word in words for words in held) for word in set().union(*held)}
        self.raw = {word: math.log(n - count + 0.5) - math.log(count + 0.5) for word, count in df.items()}
        positive = [idf for idf in self.raw.values() if idf > 0]
        self.mean = sum(positive) / len(positive) if positive else 4.0

    def refined(self, at: int, lengths: dict[str, int], by_score: bool) -> list[tuple[str, int, int]]:
        """(word, frequency, position) kept of text `at`."""
        scored = []
        for word in set(self.told[at]):
            if word in STOP or len(word) == 1:
                continue
            idf = self.raw[word] if self.raw[word] > 0 else self.mean / 4
            qf = self.told[at].count(word)
            scored.append((idf * qf * 3 / (qf + 2), self.told[at].index(word), word, qf))
        scored.sort(key=lambda row: (-round(row[0], 12), row[1]))
        best = scored[:100]
        kept, used = [], 0
        for _, position, word, qf in best if by_score else sorted(best, key=lambda row: row[1]):
            if used + lengths[word] <= ROOM:
                used += lengths[word]
                kept.append((word, min(qf, 99), position))
        return sorted(kept, key=lambda row: row[2])


class FastCorpus:
    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        held = [set(words_of(text)) for text in texts if words_of(text)]
        self.corpus = corpus_of(Counter(word for words in held for word in words), len(held))

    def refined(self, at: int, lengths: dict[str, int], by_score: bool) -> list[tuple[str, int, int]]:
        keywords = keywords_of(self.texts[at], self.corpus, STOP)
        kept = fitting(keywords, [lengths[keyword.word] for keyword in keywords], ROOM, by_score=by_score)
        return [(keyword.word, keyword.frequency, keyword.position) for keyword in kept]


def lengths_of(texts: list[str]) -> dict[str, int]:
    """So many word pieces has a word here: longer ones have more."""
    return {word: 1 + len(word) // 4 for text in texts for word in words_of(text)}


text = st.lists(st.sampled_from(["the", "a", "cat", "Cat", "dog", "elephants", "ran", "!", "über", "x1", "of"])).map(
    " ".join
)


@given(texts=st.lists(text, min_size=1, max_size=6), by_score=st.booleans())
def test_any_texts_are_refined_as_the_formulas_say(texts: list[str], by_score: bool) -> None:
    lengths, fast, slow = lengths_of(texts), FastCorpus(texts), SlowCorpus(texts)
    for at in range(len(texts)):
        assert fast.refined(at, lengths, by_score) == slow.refined(at, lengths, by_score)


@pytest.mark.parametrize("by_score", [False, True])
def test_real_articles_are_refined_as_the_formulas_say(shared_data: Path, by_score: bool) -> None:
    with gzip.open(shared_data / "articles" / "articles.tsv.gz", "rt", encoding="utf-8") as file:
        bodies = [line.rstrip("\n").split("\t")[5] for line in file]
    lengths, fast, slow = lengths_of(bodies), FastCorpus(bodies), SlowCorpus(bodies)
    for at in range(0, len(bodies), 7):
        kept = fast.refined(at, lengths, by_score)
        assert kept == slow.refined(at, lengths, by_score)


def test_words_come_in_text_order_once_with_how_often_they_stand() -> None:
    corpus = corpus_of({"rare": 1, "common": 9, "end": 2}, 10)
    kept = keywords_of("Common rare, the rare end. RARE x " + "end " * 200, corpus, STOP)
    assert [(k.word, k.frequency, k.position) for k in kept] == [("end", 99, 5), ("rare", 3, 1), ("common", 1, 0)]
    assert [k.word for k in fitting(kept, [1, 1, 1], 3)] == ["common", "rare", "end"]


def test_a_word_that_does_not_fit_is_passed_over() -> None:
    keywords = [Keyword("best", 1, 5, 9.0), Keyword("long", 1, 0, 8.0), Keyword("last", 1, 9, 7.0)]
    assert [k.word for k in fitting(keywords, [2, 3, 1], 4)] == ["long", "last"]
    assert [k.word for k in fitting(keywords, [2, 3, 1], 4, by_score=True)] == ["best", "last"]


def test_a_frequent_word_is_worth_a_quarter_of_the_mean_and_an_unseen_one_most() -> None:
    corpus = corpus_of({"rare": 1, "common": 9}, 10)
    assert corpus.idf["common"] == pytest.approx(corpus.idf["rare"] / 4)
    assert corpus.idf_of("unseen") > corpus.idf["rare"]
    assert corpus_of({"everywhere": 3}, 3).idf == {"everywhere": 1.0}
