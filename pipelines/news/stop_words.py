"""Stop words by language, from the stopwords-iso collection."""

from __future__ import annotations

from functools import cache

import stopwordsiso

from pipelines.news.refine import words_of
from schemas.errors import InputError

NO_STOP_WORDS = "none"


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of an ISO 639-1 language, lower-cased, contractions split as in refinement.

    InputError if the collection has no list of the language.
    """
    if language == NO_STOP_WORDS:
        return frozenset()
    if not stopwordsiso.has_lang(language):
        raise InputError(
            f"--language {language}: no list of stop words. Use one of {', '.join(sorted(stopwordsiso.langs()))}, "
            f"or {NO_STOP_WORDS}"
        )
    return frozenset(part for word in stopwordsiso.stopwords(language) for part in words_of(word))
