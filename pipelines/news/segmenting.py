"""Segmenting: which fields of a news become token segments, by which tokenizer, and what is kept of a long field."""

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

DEFAULTS: Mapping[str, Any] = {  # the settings of a source's first run, as far as its options leave them open
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
    """By what the long fields of one source are refined."""

    language: str
    corpora: Mapping[str, int]  # field -> number of its corpus
    statistics: str = ""  # id of the table that numbers them


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenting:
    """How text becomes segments: one per named field that holds text, each of at most T tokens."""

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
        object.__setattr__(self, "fields", wanted)  # segments stand in the order of FIELDS

    @property
    def tokenizer_sha256(self) -> str:
        """Of the text of its tokenizer.json."""
        return hashlib.sha256(self.tokenizer_json.encode()).hexdigest()

    @property
    def tokenizer_content(self) -> str:
        """Of what its tokenizer.json holds: the same for one that is saved again; empty where that cannot be told."""
        return content_sha256(self.tokenizer_json)

    @property
    def refines(self) -> bool:
        """Whether words are chosen from a field that is too long, rather than its start taken."""
        return self.select != "start"

    def sha256(self, language: Language, filled: Sequence[str], *, near_duplicates: float | None = None) -> str:
        """Differs when an item might whose `filled` fields hold text: its segments, or what stands for it."""
        settings: list[Any] = [_RULES, self.tokens_per_segment, self.fields, self.select, near_duplicates]
        if self.category_first:
            settings.append("category_first")
        if self.refines:
            corpora = [language.corpora.get(field, 0) for field in self.fields if field in filled]
            settings += [sorted(stop_words(language.language)), language.statistics, corpora]
        tokenizer = self.tokenizer_content or self.tokenizer_json
        return hashlib.sha256(f"{tokenizer}\0{json.dumps(settings)}".encode()).hexdigest()

    def build(self) -> Tokenizer:
        """The tokenizer, neither cutting nor padding; `[SEP]` written in a text is text."""
        try:
            tokenizer = Tokenizer.from_str(self.tokenizer_json)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{self.name}: not a tokenizer.json that tokenizers can load ({error})") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True
        return tokenizer

    def described(self) -> dict[str, Any]:
        """What the packed manifest says of the tokens; InputError if no encoder could use them."""
        return dict(_described(self))


@dataclass(frozen=True, kw_only=True)
class NewsConfig:
    """The options of prepare_news that decide the tokens, and which items stand for others.

    None leaves a setting as the source's items were made by so far, at first as in DEFAULTS.
    """

    tokenizer: str | None = None  # a tokenizer.json, a folder that holds one, or "minilm", which is the first default
    tokens_per_segment: int | None = None  # word pieces that a segment holds at most, [CLS] and [SEP] included; 32
    fields: tuple[str, ...] | None = None  # which of title, abstract and body become segments; title
    select: Select | None = None  # of a longer field keep its best words in text order (text), by score, or its start
    category_first: bool | None = None  # titles begin with the words of category and subcategory
    language: str | None = None  # of the source's stop words, such as en, or none; en
    new_corpus: bool = False  # count anew how rare words are, from all news of the source that the lake holds now
    near_duplicates: float | None = None  # fold items that share so much of their 3-word shingles (.5 to 1); 0 = none

    def __post_init__(self) -> None:
        if self.near_duplicates and not 0.5 <= self.near_duplicates <= 1:
            raise InputError(
                f"near_duplicates is {self.near_duplicates}: use a similarity from 0.5 to 1, or 0 for none"
            )
        if self.new_corpus and self.select == "start":
            raise InputError("new_corpus counts words for the refinement that select = start leaves out: drop one")
        if self.language is not None:
            stop_words(self.language)

    def over(self, before: Mapping[str, Any]) -> NewsConfig:
        """The options with none left open: as `before`, where that says it, or else as in DEFAULTS."""
        known = {**DEFAULTS, **before}
        return replace(self, **{name: known[name] for name in DEFAULTS if getattr(self, name) is None})

    def segmenting(self) -> Segmenting:
        """With the tokenizer read, and defaults for what is left open. InputError where a value cannot be used."""
        whole = self.over({})
        assert whole.tokenizer is not None, "nothing is left open"
        name, text = load_tokenizer(whole.tokenizer)
        taken = ("tokens_per_segment", "fields", "select", "category_first")
        values = {key: value for key, value in asdict(whole).items() if key in taken}
        found = Segmenting(name=name, tokenizer_json=text, **values)
        found.described()  # a tokenizer that does not load must stop the run before any write
        return found


@lru_cache(maxsize=4)
def _described(segmenting: Segmenting) -> dict[str, Any]:
    tokenizer = segmenting.build()
    around = len(tokenizer.encode("").ids)
    if not around:
        raise InputError(
            f"{segmenting.name}: this tokenizer puts nothing around a text, and an empty title would have no token. "
            f"Use one that adds [CLS] and [SEP], such as --tokenizer {DEFAULT}, or, of a decoder, a copy of its "
            "tokenizer.json whose post_processor adds the end token"
        )
    if segmenting.tokens_per_segment <= around:
        raise InputError(
            f"tokens_per_segment is {segmenting.tokens_per_segment}, and {segmenting.name} puts {around} tokens around "
            f"each text: use {around + 1} or more"
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
