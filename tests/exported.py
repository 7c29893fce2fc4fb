"""Builders for what is exported: a small run on a packed directory, and the Delta tables of its lake, without Spark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from deltalake import write_deltalake
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from schemas.as_arrow import arrow_schema
from schemas.history import hash_of_history
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.news import ITEM_TOKENS, NEWS
from schemas.table import Table
from tests.packed import VOCABULARY
from trainer.checkpoint.files import Checkpoint, save_checkpoint
from trainer.checkpoint.retention import CONFIG_FILE
from trainer.config import TrainConfig
from trainer.model.frozen import weights_sha256
from trainer.model.split_encoder import SplitEncoder
from trainer.model.text_encoder import TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig
from trainer.run_config import RunConfig
from trainer.setup.prepare import build_model

SOURCE = "paper"


def tiny_tokenizer(folder: Path) -> None:
    """A tokenizer.json of the words w0, w1, ... for a tiny_plm of VOCABULARY words: [CLS] = 1, [SEP] = 2."""
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3} | {f"w{n}": n for n in range(4, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def config_of(plm: str, *, frozen_layers: int = 1, bus: bool = False) -> TrainConfig:
    """Small parts around a tiny_plm."""
    return TrainConfig(
        run=RunConfig(history_clicks=4),
        encoder=TextEncoderConfig(plm=plm, frozen_layers=frozen_layers, vector_width=16, pooling_width=8, bus=bus),
        user=UserEncoderConfig(attention_width=8),
    )


def checkpoint_at(path: Path, config: TrainConfig, *, seed: int = 0) -> Path:
    """A checkpoint of a model whose every trained weight has been moved by chance, as if by training."""
    model = build_model(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        encoder: Any = model["encoder"]
        if encoder.frequency is not None:
            encoder.frequency.weight[0] = 0
    split: SplitEncoder = encoder.split
    state = {
        "config": config.to_dict(),
        "position": {"epoch": 1, "epoch_step": 0, "step": 7 + seed},
        "frozen_sha256": weights_sha256(split),
    }
    save_checkpoint(Checkpoint(tensors={"model": model.state_dict()}, state=state), path)
    (path.parents[1] / CONFIG_FILE).write_text("{}")  # as if a run had written it
    return path


def write_table(lake: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of a contract's table, replacing what it held; columns that are not given are empty."""
    schema = arrow_schema(table)
    empty = {field.name: _empty(field) for field in schema}
    filled = pa.Table.from_pylist([empty | row for row in rows], schema)
    write_deltalake(str(lake / table.name), filled, mode="overwrite", partition_by=list(table.partition_by))


def _empty(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_timestamp(field.type):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if pa.types.is_date(field.type):
        return datetime(2026, 1, 1, tzinfo=UTC).date()
    return "" if pa.types.is_string(field.type) else 0


def write_news(lake: Path, items: int, *, canonical: dict[int, int] | None = None) -> None:
    """Tables news and item_tokens of the items 1 to `items`: n1, n2, ...; `canonical`: which are folded into which."""
    rows = range(1, items + 1)
    folded = canonical or {}
    named = [{"source": SOURCE, "item_id": f"n{n}", "item_row": n, "canonical_row": folded.get(n, n)} for n in rows]
    write_table(lake, ITEM_TOKENS, named)
    values = [{"source": SOURCE, "news_id": f"n{n}", "category": "sport", "title": f"Title [{n}]"} for n in rows]
    write_table(lake, NEWS, values)


def write_logs(
    lake: Path, views: Sequence[tuple[str, int, str, str]], histories: dict[str, str], *, apart: int = 1
) -> None:
    """Tables impressions and histories. A view: user, length of its history, what it showed, what of it was clicked.

    A view's history begins the user's sequence in `histories`. Views are `apart` minutes apart.
    """
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {
            "source": SOURCE,
            "impression_id": f"i{place}",
            "user_id": user,
            "time": begin + timedelta(minutes=place * apart),
            "date": (begin + timedelta(minutes=place * apart)).date(),
            "history_length": length,
            "history_hash": hash_of_history(histories.get(user, "").split()[:length]),
            "shown": shown.split(),
            "clicked": [news in clicked.split() for news in shown.split()],
        }
        for place, (user, length, shown, clicked) in enumerate(views)
    ]
    write_table(lake, IMPRESSIONS, rows)
    values = [{"source": SOURCE, "user_id": user, "clicks": clicks.split()} for user, clicks in histories.items()]
    write_table(lake, HISTORIES, values)
