"""EMBEDDINGS: one vector per news id, from the checkpoint exported last."""

from __future__ import annotations

from schemas.table import Column, Table

EMBEDDINGS = Table(
    name="embeddings",
    meaning="one vector per news id; each source has those of one checkpoint, earlier ones are in the table's history",
    columns=(
        Column("source", "string", "as in news"),
        Column("item_id", "string", "the news id; null where it was exported without the lake", nullable=True),
        Column("item_row", "int", "as in item_tokens"),
        Column("canonical_row", "int", "the row whose tokens were encoded: its own unless the text repeats"),
        Column("vector", "array<float>", "D numbers; a user's score is the dot product with it"),
        Column("tokens_version", "int", "of the tokens that were encoded, as in item_tokens"),
        Column("checkpoint", "string", "run and name of the checkpoint"),
        Column("checkpoint_sha256", "string", "of the checkpoint's model.safetensors"),
        Column("step", "long", "training steps that the checkpoint has seen"),
        Column("item_tokens_version", "long", "Delta version of item_tokens that the tokens come from"),
        Column("made_at", "timestamp", "when the vector was written, UTC"),
    ),
    key=("source", "item_row"),
    partition_by=("source",),
)
