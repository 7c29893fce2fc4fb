from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipelines.news.refine import Corpus, Keyword, keywords_of, keywords_that_fit, words_of
from tests.pipelines.news.slow_refinement import slow_keywords, slow_words

STOP = frozenset({"the", "of", "and", "to"})
IDF = {"cat": 1.0, "dog": 1.0, "elephants": 2.5, "ran": 0.4, "über": 3.0, "x1": 0.4}
UNSEEN = 4.0

text = st.lists(st.sampled_from([*IDF, "the", "a", "Cat", "!", "of", "snow", "rain-man", "naïve", "नहीं"])).map(" ".join)


@given(text=text, room=st.integers(0, 12), by_score=st.booleans())
def test_any_text_is_refined_as_the_formulas_say(text: str, room: int, by_score: bool) -> None:
    found = keywords_of(text, Corpus(IDF, UNSEEN), STOP)
    kept = keywords_that_fit(found, [1 + len(keyword.word) // 4 for keyword in found], room, by_score=by_score)
    words = slow_words(text)
    assert words_of(text) == words
    idf = {word: IDF.get(word, UNSEEN) for word in words}
    slow = slow_keywords(words, idf, STOP, lambda word: 1 + len(word) // 4, room, by_score=by_score)
    assert [(k.word, k.frequency, k.position) for k in kept] == slow


def test_words_come_once_with_how_often_and_where_they_stand() -> None:
    corpus = Corpus({"rare": 3.0, "common": 0.5, "end": 2.0}, 5.0)
    found = keywords_of("Common rare, the rare end. RARE x " + "end " * 200, corpus, STOP)
    assert [(k.word, k.frequency, k.position) for k in found] == [("end", 99, 5), ("rare", 3, 1), ("common", 1, 0)]
    assert math.isclose(found[1].score, 3.0 * 3 * 3 / (3 + 2))
    assert [k.word for k in keywords_that_fit(found, [1, 1, 1], 3)] == ["common", "rare", "end"]


def test_only_the_hundred_best_are_kept() -> None:
    text = " ".join(f"w{place}" for place in range(150))
    found = keywords_of(text, Corpus({f"w{place}": float(place >= 50) for place in range(150)}, 0.0), STOP)
    assert Counter(keyword.position >= 50 for keyword in found) == {True: 100}


def test_a_word_that_does_not_fit_is_passed_over() -> None:
    keywords = [Keyword("best", 1, 5, 9.0), Keyword("long", 1, 0, 8.0), Keyword("last", 1, 9, 7.0)]
    assert [k.word for k in keywords_that_fit(keywords, [2, 3, 1], 4)] == ["long", "last"]
    assert [k.word for k in keywords_that_fit(keywords, [2, 3, 1], 4, by_score=True)] == ["best", "last"]
