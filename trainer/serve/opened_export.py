"""Opens an export for recommending; checks every file against export.json, and that the files belong together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from schemas.errors import InputError
from schemas.regular_file import check_inside, opened
from schemas.storage.place import Place
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.serve.export_files import INDEX, NEWS, NEWS_COLUMNS, RECORD, USER, Record
from trainer.serve.export_folder import current_folder
from trainer.serve.export_place import local_export

T = TypeVar("T")
_LARGEST = 1 << 40  # bytes of one file
_DAMAGE = (OSError, ValueError, RuntimeError, TypeError, MemoryError, pa.ArrowException, SafetensorError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An opened export. `news`: the columns of news.parquet, ascending by item row; these rows are the index's ids."""

    record: Record
    index: Any
    user: UserEncoder
    news: Mapping[str, NDArray[Any]]

    @classmethod
    def open(cls, place: Path | Place) -> Export:
        """Opens the export. InputError if there is none, or a file is missing, damaged or of another export."""
        with local_export(Place.of(place)) as folder:
            return cls._open(current_folder(folder))

    @classmethod
    def _open(cls, folder: Path) -> Export:
        record = Record.read(folder)
        if record is None:
            raise InputError(f"{folder}: no {RECORD}, so this is no export. Make one with ./feedloop export_embeddings")
        paths = {name: _verified(folder, name, record) for name in (NEWS, INDEX, USER)}
        news = _read(paths[NEWS], record, _news)
        index = _read(paths[INDEX], record, _index)
        user = _read(paths[USER], record, _user)
        if not np.array_equal(np.sort(faiss.vector_to_array(index.id_map)), news["item_row"]):
            raise InputError(f"{paths[INDEX]}: its ids are not the item rows of {NEWS}. {_again(folder)}")
        return cls(record=record, index=index, user=user, news=news)


def _read(path: Path, record: Record, read: Callable[[Path, Record], T]) -> T:
    """The result of `read`; InputError with the path for a damaged file."""
    try:
        return read(path, record)
    except _DAMAGE as error:
        line = (str(error).splitlines() or [repr(error)])[0]
        raise InputError(f"{path}: damaged ({line:.300}). {_again(path.parent)}") from error


def _again(folder: Path) -> str:
    return f"Remove {folder} and export again"


def _verified(folder: Path, name: str, record: Record) -> Path:
    """The path of the file; InputError unless it is a regular file with the record's size and sha256."""
    error_options: dict[str, Any] = {"advice": _again(folder), "error": InputError}
    path = check_inside(folder, name, **error_options)
    wanted = record.files.get(name)
    if wanted is None:
        raise InputError(f"{folder / RECORD}: lists no {name}. {_again(folder)}")
    with opened(path, largest=_LARGEST, **error_options) as stream:
        if os.fstat(stream.fileno()).st_size != wanted.bytes:
            size = os.fstat(stream.fileno()).st_size
            raise InputError(f"{path}: {size} bytes, {RECORD} says {wanted.bytes}. {_again(folder)}")
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != wanted.sha256:
        raise InputError(f"{path}: sha256 {digest[:12]}…, {RECORD} says {wanted.sha256[:12]}…. {_again(folder)}")
    return path


def _news(path: Path, record: Record) -> Mapping[str, NDArray[Any]]:
    table = pq.read_table(path)
    for name, kind in NEWS_COLUMNS.items():
        if name not in table.column_names:
            raise ValueError(f"no column {name}")
        if table[name].type != kind or table[name].null_count:
            raise ValueError(f"column {name} is {table[name].type} with {table[name].null_count} empty cells")
    if len(table) != record.news:
        raise ValueError(f"{len(table)} news, {RECORD} says {record.news}")
    news = {name: np.asarray(table[name].to_numpy()) for name in NEWS_COLUMNS}
    rows, canonical = news["item_row"], news["canonical_row"]
    if len(rows) and (rows[0] < 1 or (rows[1:] <= rows[:-1]).any() or canonical.min() < 1):
        raise ValueError("item rows do not ascend from 1 on")
    return news


def _index(path: Path, record: Record) -> Any:
    index = faiss.read_index(str(path))
    if not isinstance(index, faiss.IndexIDMap2):
        raise ValueError(f"a {type(index).__name__}, not an index with ids")
    if index.d != record.vector_width or index.ntotal != record.news:
        width, news = record.vector_width, record.news
        raise ValueError(f"{index.ntotal} vectors of {index.d}, {RECORD} says {news} of {width}")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError("an index of distances, not of inner products")
    return index


def _user(path: Path, record: Record) -> UserEncoder:
    user = UserEncoder(UserEncoderConfig(**record.user), vector_width=record.vector_width)
    user.load_state_dict(load_file(path))
    return user.eval()
