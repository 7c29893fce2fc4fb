"""NEWS: one row per news id; ITEM_TOKENS: its token segments under a permanent item row; and what decided them."""

from __future__ import annotations

from schemas.table import Column, Table

PAD_ROW = 0  # item row 0 belongs to no item
FIELDS = ("title", "abstract", "body")  # text fields in the order of their segments

NEWS = Table(
    name="news",
    meaning="one row per news id, text normalised",
    columns=(
        Column("source", "string", "which publisher it comes from"),
        Column("news_id", "string", "the publisher's id"),
        Column("category", "string", "empty where unknown"),
        Column("subcategory", "string", "empty where unknown"),
        Column("title", "string", "NFC, white space folded"),
        Column("abstract", "string", "NFC, white space folded"),
        Column("body", "string", "NFC, white space folded"),
        Column("text_sha256", "string", "hex digest of title, abstract and body joined by U+001F"),
    ),
    key=("source", "news_id"),
    partition_by=("source",),
)

ITEM_TOKENS = Table(
    name="item_tokens",
    meaning="token segments of each item under a dense, permanent row",
    columns=(
        Column("source", "string", "as in news"),
        Column("item_id", "string", "the news id"),
        Column("item_row", "int", "dense from 1; row 0 is the pad; new items append"),
        Column("canonical_row", "int", "the row that stands for it when packed; itself unless the text repeats"),
        Column("text_sha256", "string", "hash of the text that was tokenised"),
        Column("text_version", "int", "from 1, plus one with each change of the text"),
        Column("tokenizer_sha256", "string", "hash of tokenizer.json and all settings that made this row"),
        Column("segment_field", "array<int>", "index into FIELDS of each segment"),
        Column("segment_tokens", "array<array<int>>", "token ids of each segment, [CLS] and [SEP] included"),
        Column(
            "tokens_version", "int", "from 1, plus one when its tokens change: older vectors are stale", nullable=True
        ),
        Column(
            "segment_full_tokens", "array<int>", "tokens that each segment's entire field would have", nullable=True
        ),
        Column(
            "segment_frequency",
            "array<array<int>>",
            "of refined segments: how often each token's word occurs in its field, at most 99; 0: a special token",
            nullable=True,
        ),
        Column(
            "segment_position",
            "array<array<int>>",
            "of refined segments: where each token's word first occurs, from 1; 0: a special token",
            nullable=True,
        ),
    ),
    key=("source", "item_id"),
)

CORPUS_STATISTICS = Table(
    name="corpus_statistics",
    meaning="number of texts of a field that hold each word: content refinement scores by it until it is recounted",
    columns=(
        Column("source", "string", "as in news"),
        Column("field", "string", "one of FIELDS"),
        Column("corpus", "int", "its number: the version of this table at which it was counted"),
        Column("word", "string", "lower case; the empty word's row counts the texts that have any word"),
        Column("texts_with", "long", "texts that hold the word"),
        Column("idf", "double", "its weight; in the empty word's row, that of a word missing from the corpus"),
    ),
    key=("source", "field", "word"),
    partition_by=("source", "field"),
)

NEAR_DUPLICATES = Table(
    name="near_duplicates",
    meaning="items represented by another with nearly the same text; none unless near duplicates are asked for",
    columns=(
        Column("item_row", "int", "the item that is folded"),
        Column("kept_row", "int", "the item that represents it, and all items with the same text as the folded one"),
        Column("similarity", "double", "Jaccard similarity of their sets of word shingles"),
    ),
    key=("item_row",),
)
