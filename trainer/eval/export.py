"""Export: the folder that serves a checkpoint: news encoder, user encoder, news, index. Renamed once complete."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from schemas.embedding import EMBEDDINGS
from schemas.errors import InputError
from schemas.manifest import Tokens
from trainer.eval.catalogue import Catalogue
from trainer.eval.embeddings import News
from trainer.model import feedloop_encoder
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.model.weights_folder import tokenizer_files
from trainer.model.whole import whole_plm

FORMAT_VERSION = 1
RECORD, NEWS, INDEX, USER, ENCODER = "export.json", "news.parquet", "index.faiss", "user.safetensors", "encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What export.json says of the folder that it stands in."""

    source: str
    checkpoint: str
    checkpoint_sha256: str
    """of its model.safetensors"""
    step: int
    data: str
    """the packed directory's manifest, by sha256"""
    tables: dict[str, int]
    """Delta versions: those that the packed directory was made from, and that of `embeddings`"""
    embeddings: str
    """where that table lies; relative where it lies in this folder"""
    news: int
    """rows of the index and of news.parquet"""
    vectors: int
    """distinct ones: news that are folded into another have its vector"""
    vector_width: int
    index: dict[str, Any]
    """kind, recall at 10 against an exact search, and what it is set to"""
    history_clicks: int
    """a user is the latest so many clicks"""
    user: dict[str, Any]
    """the user encoder's config"""
    made_at: str
    format_version: int = FORMAT_VERSION

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The folder's record; None if it has none. InputError if it is of another version or damaged."""
        file = folder / RECORD
        if not file.is_file():
            return None
        try:
            raw = json.loads(file.read_text())
            if raw["format_version"] != FORMAT_VERSION:
                raise InputError(
                    f"{file}: format version {raw['format_version']}, this code reads {FORMAT_VERSION}. Export again"
                )
            return cls(**raw)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{file}: damaged ({error!r}). Remove {folder} and export again") from error


@contextmanager
def export_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` when the block ends: what stands there is old or new, and whole.

    The Delta table of an earlier export comes along. InputError if `out` is a folder of something else.
    """
    partial, replaced = (out.with_name(f".{out.name}.{state}") for state in ("incomplete", "replaced"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if (out / EMBEDDINGS.name).is_dir():  # its files never change, so a second name for each will do
        shutil.copytree(out / EMBEDDINGS.name, partial / EMBEDDINGS.name, copy_function=os.link)
    yield partial
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        out.rename(replaced)
    partial.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)


def earlier_export(out: Path) -> Record | None:
    """The record of what stands at `out`; one that a kill left aside is put back. InputError if it is no export."""
    replaced = out.with_name(f".{out.name}.replaced")
    if not out.exists() and (replaced / RECORD).is_file():
        replaced.rename(out)
    if not out.exists():
        return None
    found = Record.read(out)
    if found is None and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: there is something that is no export. Name another --out, or remove it")
    return found


def write_encoder(folder: Path, encoder: TextEncoder, config: TextEncoderConfig, tokens: Tokens) -> None:
    """The news encoder as a Hugging Face folder, with the weights above it and the program that puts both together."""
    whole = whole_plm(config.plm, encoder.split)
    whole.plm.save_pretrained(folder)
    for file in tokenizer_files(config.plm):
        shutil.copyfile(file, folder / file.name)
    own = {name: tensor for name, tensor in encoder.state_dict().items() if not name.startswith("split.")}
    save_file({name: tensor.cpu().contiguous() for name, tensor in own.items()}, folder / "feedloop.safetensors")
    settings = {
        "bus": config.bus,
        "first_bus_layer": max(1, config.frozen_layers),
        "first_trained_layer": whole.first_trained,
        "text_part": whole.part,
        "time_first": encoder.split.time_first,
        "fields": tokens.fields,
        "select": tokens.select,
        "tokens_per_segment": tokens.tokens_per_segment,
    }
    (folder / "feedloop.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / "feedloop_encoder.py").write_text(inspect.getsource(feedloop_encoder))


def write_rest(folder: Path, index: Any, user: UserEncoder, news: News, catalogue: Catalogue) -> None:
    """The index, the user encoder, and what a person knows the news by."""
    faiss.write_index(index, str(folder / INDEX))
    save_file({name: tensor.cpu().contiguous() for name, tensor in user.state_dict().items()}, folder / USER)
    texts = {name: getattr(catalogue, f"{name}_V")[news.row_N] for name in ("category", "subcategory", "title")}
    columns = {"item_row": news.row_N, "canonical_row": news.canonical_N, "news_id": news.id_N, **texts}
    pq.write_table(pa.table(columns), folder / NEWS)


def this_moment() -> datetime:
    """Now, UTC: what vectors and record are dated by."""
    return datetime.now(UTC)


def write_record(folder: Path, record: Record) -> None:
    """export.json, last: a folder without it is no export."""
    file = folder / RECORD
    file.write_text(json.dumps(asdict(record), indent=1) + "\n")
    for weights in folder.rglob("*.safetensors"):  # that library keeps its files to one user; an export is for others
        weights.chmod(file.stat().st_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An export opened to be asked; columns of `news` as news.parquet has them, ascending by item row."""

    record: Record
    index: Any
    user: UserEncoder
    news: Mapping[str, NDArray[Any]]

    @classmethod
    def open(cls, folder: Path) -> Export:
        """InputError if the folder is no export, or something of it is missing or damaged."""
        record = Record.read(folder)
        if record is None:
            raise InputError(f"{folder}: no {RECORD}, so this is no export. Make one with ./feedloop export_embeddings")
        try:
            user = UserEncoder(UserEncoderConfig(**record.user), vector_width=record.vector_width)
            user.load_state_dict(load_file(folder / USER))
            table = pq.read_table(folder / NEWS)
            index = faiss.read_index(str(folder / INDEX))
        except (OSError, RuntimeError, TypeError, pa.ArrowException) as error:
            raise InputError(f"{folder}: the export is damaged ({error}). Export again into a new folder") from error
        news = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
        return cls(record=record, index=index, user=user.eval(), news=news)
