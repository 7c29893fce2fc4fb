"""Writes the files of an export: news encoder, user encoder, news, index, and the record that lists them."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save_file

from schemas.errors import InputError
from schemas.manifest import Tokens
from schemas.regular_file import read_bytes
from schemas.strict_json import Count, Sha256, ShortText, between, converted, json_value
from trainer.eval.catalogue import Catalogue
from trainer.model import feedloop_encoder
from trainer.model.assembled_encoder import assembled_plm
from trainer.model.text_encoder import LARGEST_WIDTH, TextEncoder, TextEncoderConfig
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.model.weights_folder import tokenizer_files
from trainer.serve.embeddings import News
from trainer.serve.export_folder import restore_replaced

FORMAT_VERSION = 2
LONGEST_RECORD = 1 << 20  # bytes
RECORD, NEWS, INDEX, USER, ENCODER = "export.json", "news.parquet", "index.faiss", "user.safetensors", "encoder"


NEWS_COLUMNS = {
    "item_row": pa.int64(),
    "canonical_row": pa.int64(),
    "news_id": pa.string(),
    "category": pa.string(),
    "subcategory": pa.string(),
    "title": pa.string(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSum:
    """Size and hash of a file in the folder."""

    bytes: Count
    sha256: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The content of export.json, which describes its folder."""

    source: ShortText
    checkpoint: ShortText
    checkpoint_sha256: ShortText
    """of its model.safetensors"""
    step: Count
    data: ShortText
    """the packed directory's manifest, by sha256"""
    tables: dict[str, Count]
    """Delta versions: of the tables that the packed directory was made from, and of `embeddings`"""
    embeddings: ShortText
    """the place of that table; relative if it is in this folder"""
    news: Annotated[int, between(0, 2**31 - 1)]
    """rows of the index and of news.parquet"""
    vectors: Count
    """distinct vectors: a news that is folded into another has its vector"""
    vector_width: Annotated[int, between(1, LARGEST_WIDTH)]
    index: dict[str, Any]
    """kind, recall at 10 against an exact search, and its setting"""
    history_clicks: Annotated[int, between(1, 2**16)]
    """how many of the latest clicks make a user's state"""
    user: dict[str, Any]
    """the user encoder's config"""
    made_at: ShortText
    files: dict[str, FileSum]
    """the files that `recommend` reads"""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.vectors > self.news:
            raise InputError(f"{self.vectors} vectors of {self.news} news")

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The folder's record; None if it has none. InputError if it is of another version or damaged."""
        file = folder / RECORD
        if not os.path.lexists(file):
            return None
        options: dict[str, Any] = {"advice": f"Remove {folder} and export again", "error": InputError}
        raw = json_value(read_bytes(file, largest=LONGEST_RECORD, **options), str(file), **options)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if type(version) is not int or version != FORMAT_VERSION:
            found = f"format version {version!r:.40}, this code reads {FORMAT_VERSION}"
            raise InputError(f"{file}: {found}. {options['advice']}")
        record = converted(raw, cls, str(file), **options)
        converted(record.user, UserEncoderConfig, f"{file}, its user", **options)
        return record


def earlier_export(out: Path) -> Record | None:
    """The record of the export at `out`, which is restored after a kill. InputError if something else is there."""
    restore_replaced(out)
    if not out.exists():
        return None
    found = Record.read(out)
    if found is None and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is no export. Name another --out, or remove it")
    return found


def write_encoder(folder: Path, encoder: TextEncoder, config: TextEncoderConfig, tokens: Tokens) -> None:
    """Writes the news encoder as a Hugging Face folder, with feedloop's own weights and the program that runs both."""
    assembled = assembled_plm(config.plm, encoder.split)
    assembled.plm.save_pretrained(folder)
    for file in tokenizer_files(config.plm):
        shutil.copyfile(file, folder / file.name)
    own = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("split.")}
    save_file({name: tensor.cpu().contiguous() for name, tensor in own.items()}, folder / "feedloop.safetensors")
    settings = {
        "bus": config.bus,
        "first_bus_layer": max(1, config.frozen_layers),
        "first_trained_layer": assembled.first_trained,
        "text_part": assembled.part,
        "time_first": encoder.split.time_first,
        "fields": tokens.fields,
        "select": tokens.select,
        "tokens_per_segment": tokens.tokens_per_segment,
    }
    (folder / "feedloop.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / "feedloop_encoder.py").write_text(inspect.getsource(feedloop_encoder))


def write_serving_files(folder: Path, index: Any, user: UserEncoder, news: News, catalogue: Catalogue) -> None:
    """Writes the index, the user encoder, and the ids, categories and titles of the news."""
    faiss.write_index(index, str(folder / INDEX))
    save_file({name: tensor.cpu().contiguous() for name, tensor in user.state_dict().items()}, folder / USER)
    texts = {name: getattr(catalogue, f"{name}_V")[news.row_N] for name in ("category", "subcategory", "title")}
    columns = {"item_row": news.row_N, "canonical_row": news.canonical_N, "news_id": news.id_N, **texts}
    pq.write_table(pa.table(columns, schema=pa.schema(list(NEWS_COLUMNS.items()))), folder / NEWS)


def sums_of(folder: Path) -> dict[str, FileSum]:
    """Size and hash of each file of `write_serving_files`, for the record."""
    found = {}
    for name in (NEWS, INDEX, USER):
        with (folder / name).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        found[name] = FileSum(bytes=(folder / name).stat().st_size, sha256=digest)
    return found


def is_complete(out: Path, record: Record) -> bool:
    """Whether the files that the record lists exist and are unchanged."""
    try:
        return sums_of(out) == record.files
    except OSError:
        return False


def utc_now() -> datetime:
    """The current UTC time, the date of vectors and record."""
    return datetime.now(UTC)


def write_record(folder: Path, record: Record) -> None:
    """Writes export.json, as the last file: a folder without it is no export."""
    file = folder / RECORD
    file.write_text(json.dumps(asdict(record), indent=1) + "\n")
    for weights in folder.rglob("*.safetensors"):  # safetensors writes files that only their owner can read
        weights.chmod(file.stat().st_mode)
