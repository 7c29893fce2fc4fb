"""The settings of segmentation: fields, tokenizer, segment length, and the choice of words from a long field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from tokenizers import Tokenizer

from pipelines.news.stop_words import stop_words
from pipelines.news.tokenizer_file import DEFAULT, load_tokenizer
from schemas.errors import InputError
from schemas.news import FIELDS
from schemas.tokenizer_content import content_sha256

Select = Literal["text", "score", "start"]

DEFAULTS: Mapping[str, Any] = {  # of a source's first run, for options that it does not give
    "tokenizer": DEFAULT,
    "tokens_per_segment": 32,
    "fields": ("title",),
    "select": "text",
    "category_first": False,
    "language": "en",
    "near_duplicates": 0.0,
}

_RULES = 2  # goes up when the same settings give other segments
_PAD_TOKENS = ("[PAD]", "<pad>")
_SHORTEST = 3  # [CLS], one word piece, [SEP]


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """The language and corpora that refine the long fields of one source."""

    language: str
    corpora: Mapping[str, int]  # field -> number of its corpus
    statistics: str = ""  # id of the table whose versions number them


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenting:
    """How text becomes segments: one per named field with text, each of at most T tokens."""

    name: str
    tokenizer_json: str
    tokens_per_segment: int = 32
    fields: tuple[str, ...] = ("title",)
    select: Select = "text"
    category_first: bool = False

    def __post_init__(self) -> None:
        if self.tokens_per_segment < _SHORTEST:
            raise InputError(f"tokens_per_segment is {self.tokens_per_segment}: use {_SHORTEST} or more")
        wanted = tuple(field for field in FIELDS if field in self.fields)
        if not wanted or set(wanted) != set(self.fields):
            raise InputError(f"fields are {list(self.fields)}: name one or more of {list(FIELDS)}")
        object.__setattr__(self, "fields", wanted)  # segments follow the order of FIELDS

    @property
    def tokenizer_sha256(self) -> str:
        """Hash of the text of tokenizer.json."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @property
    def tokenizer_content(self) -> str:
        """Hash of the content of tokenizer.json, which saving it again does not change; empty if unknown."""
        return content_sha256(self.tokenizer_json)

    @property
    def refines(self) -> bool:
        """Whether a field that is too long keeps its best words instead of its start."""
        return self.select != "start"

    def sha256(self, language: Language, filled: Sequence[str], *, near_duplicates: float | None = None) -> str:
        """Hash of all that decides the segments and the canonical row of an item with text in the `filled` fields."""
        settings: list[Any] = [_RULES, self.tokens_per_segment, self.fields, self.select, near_duplicates]
        if self.category_first:
            settings.append("category_first")
        if self.refines:
            corpora = [language.corpora.get(field, 0) for field in self.fields if field in filled]
            settings += [sorted(stop_words(language.language)), language.statistics, corpora]
        tokenizer = self.tokenizer_content or self.tokenizer_json
        return hashlib.sha256(f"{tokenizer}\0{json.dumps(settings)}".encode()).hexdigest()

    def build(self) -> Tokenizer:
        """The tokenizer without truncation and padding; `[SEP]` written in a text is text."""
        try:
            tokenizer = Tokenizer.from_str(self.tokenizer_json)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{self.name}: not a tokenizer.json that tokenizers can load ({error})") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        return tokenizer

    def describe(self) -> dict[str, Any]:
        """The manifest's description of the tokens. InputError if no encoder could use them."""
        return dict(_describe(self))


@dataclass(frozen=True, kw_only=True)
class NewsConfig:
    """The options of prepare_news that decide the tokens and the duplicates.

    None keeps the setting that made the source's items; for a source's first run, the one in DEFAULTS.
    """

    tokenizer: str | None = None  # a tokenizer.json, a folder that holds one, or "minilm", the first run's default
    tokens_per_segment: int | None = None  # maximum word pieces of a segment, [CLS] and [SEP] included; 32
    fields: tuple[str, ...] | None = None  # those of title, abstract and body that become segments; title
    select: Select | None = None  # a longer field keeps its best words in text order (text), by score, or its start
    category_first: bool | None = None  # titles begin with the words of category and subcategory
    language: str | None = None  # of the source's stop words, such as en, or none; en
    new_corpus: bool = False  # count again how rare words are, from all news of the source in the lake
    near_duplicates: float | None = None  # fold items that share this much of their 3-word shingles (.5 to 1); 0 = none

    def __post_init__(self) -> None:
        if self.near_duplicates and not 0.5 <= self.near_duplicates <= 1:
            raise InputError(
                f"near_duplicates is {self.near_duplicates}: use a similarity from 0.5 to 1, or 0 for none"
            )
        if self.new_corpus and self.select == "start":
            raise InputError("new_corpus counts words for the refinement that select = start leaves out: drop one")
        if self.language is not None:
            stop_words(self.language)

    def with_defaults(self, before: Mapping[str, Any]) -> NewsConfig:
        """The options with every None replaced: from `before` or else from DEFAULTS."""
        known = {**DEFAULTS, **before}
        return replace(self, **{name: known[name] for name in DEFAULTS if getattr(self, name) is None})

    def segmenting(self) -> Segmenting:
        """The segmentation with the tokenizer loaded and DEFAULTS for open options. InputError for invalid values."""
        complete = self.with_defaults({})
        assert complete.tokenizer is not None, "no option is open"
        name, text = load_tokenizer(complete.tokenizer)
        wanted = ("tokens_per_segment", "fields", "select", "category_first")
        values = {key: value for key, value in asdict(complete).items() if key in wanted}
        found = Segmenting(name=name, tokenizer_json=text, **values)
        found.describe()  # a tokenizer that does not load must stop the run before any write
        return found


@lru_cache(maxsize=4)
def _describe(segmenting: Segmenting) -> dict[str, Any]:
    tokenizer = segmenting.build()
    around = len(tokenizer.encode("").ids)
    if not around:
        raise InputError(
            f"{segmenting.name}: this tokenizer adds no special tokens, so an empty title would have no token. "
            f"Use one that adds [CLS] and [SEP], such as --tokenizer {DEFAULT}, or, for a decoder, a copy of its "
            "tokenizer.json whose post_processor adds the end token"
        )
    if segmenting.tokens_per_segment <= around:
        raise InputError(
            f"tokens_per_segment is {segmenting.tokens_per_segment}, but {segmenting.name} adds {around} special "
            f"tokens to each text: use {around + 1} or more"
        )
    pads = [tokenizer.token_to_id(token) for token in _PAD_TOKENS]
    return {
        "tokenizer": segmenting.name,
        "tokenizer_sha256": segmenting.tokenizer_sha256,
        "tokenizer_content": segmenting.tokenizer_content,
        "vocabulary": max(tokenizer.get_vocab().values()) + 1,
        "pad_id": next((pad for pad in pads if pad is not None), 0),
        "special_tokens": around,
        "tokens_per_segment": segmenting.tokens_per_segment,
        "segments_per_item": len(segmenting.fields),
        "fields": list(segmenting.fields),
        "select": segmenting.select,
        "category_first": segmenting.category_first,
    }
