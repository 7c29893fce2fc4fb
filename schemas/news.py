"""NEWS: one row per news id; ITEM_TOKENS: its token segments under a permanent item row."""

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
    meaning="token segments of each item under a dense row that it keeps for ever",
    columns=(
        Column("source", "string", "as in news"),
        Column("item_id", "string", "the news id"),
        Column("item_row", "int", "dense from 1; row 0 is the pad; new items append"),
        Column("canonical_row", "int", "the row that stands for it when packed; itself unless the text repeats"),
        Column("text_sha256", "string", "hash of the text that was tokenised"),
        Column("text_version", "int", "from 1, plus one with each change of the text"),
        Column("tokenizer_sha256", "string", "hash of the tokenizer.json, T, and fields that made the segments"),
        Column("segment_field", "array<int>", "index into FIELDS of each segment"),
        Column("segment_tokens", "array<array<int>>", "token ids of each segment, [CLS] and [SEP] included"),
    ),
    key=("source", "item_id"),
)
