"""Exporting: checkpoint + packed directory -> vectors of all news, index and encoders; only what is new is encoded."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.embedding import EMBEDDINGS
from schemas.news import ITEM_TOKENS
from schemas.space import space_for
from schemas.storage.place import Place
from trainer.checkpoint.files import Checkpoint, load_checkpoint
from trainer.checkpoint.retention import resolve_checkpoint, run_folder_of
from trainer.data.directory import Packed
from trainer.eval.catalogue import Catalogue
from trainer.eval.impressions import Impressions
from trainer.serve.embeddings import (
    BoolArray,
    Held,
    News,
    Stamp,
    Vectors,
    held_vectors,
    known_vectors,
    still_right,
    table_of,
    version_of,
    write_vectors,
)
from trainer.serve.encode_items import encode_any
from trainer.serve.export_files import (
    ENCODER,
    Record,
    earlier_export,
    is_whole,
    sums_of,
    this_moment,
    write_encoder,
    write_record,
    write_rest,
)
from trainer.serve.export_folder import export_folder, only_export
from trainer.serve.index import Built, IndexKind, build_index
from trainer.serve.user_states import histories, user_state
from trainer.setup.prepare import Prepared, Progress, prepare_to_encode

USERS = 512  # of the evaluation impressions: their searches tell an approximate index's recall


@dataclass(frozen=True, slots=True)
class _ExportRequest:
    """An export as it was asked for: the checkpoint's model on the data, the news, and what is there already."""

    prepared: Prepared
    stored: NDArray[np.int64]
    catalogue: Catalogue
    news: News
    stamp: Stamp
    held: Held | None
    right_N: BoolArray
    table: Path | Place


def export(
    checkpoint: Path,
    data: Packed | Path,
    out: Path,
    *,
    lake: Path | Place | None,
    kind: IndexKind,
    store: Path | None,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Bring the embeddings table and the folder `out` up to what checkpoint and data are; returns what was done.

    Killed at any moment, both are old or new, and whole. `progress` is called with news encoded, and of how many there are.
    """
    with only_export(out):
        earlier = earlier_export(out)
        asked = _asked(checkpoint, data, (out, lake), store=store, device=device)
        if earlier is not None and asked.right_N.all() and _is_of(earlier, asked, kind) and is_whole(out, earlier):
            return {"encoded": 0, "written": 0, **asdict(earlier)}
        vector_ND, encoded = _vectors(asked, progress)
        built = build_index(vector_ND, asked.news.row_N, kind, _users(asked, vector_ND))
        record = _fill(out, asked, vector_ND, built, in_lake=lake is not None)
        return {"encoded": encoded, "written": int((~asked.right_N).sum()), **asdict(record)}


def _asked(
    checkpoint: Path,
    data: Packed | Path,
    places: tuple[Path, Path | Place | None],
    *,
    store: Path | None,
    device: torch.device,
) -> _ExportRequest:
    path, (out, lake) = resolve_checkpoint(checkpoint), places
    saved = load_checkpoint(path)
    prepared, stored = prepare_to_encode(saved, data, store=store, device=device)
    manifest, tokens = prepared.directory.manifest, prepared.directory.token_table()
    if lake is not None:
        catalogue = Catalogue.read(lake, manifest)
    else:
        catalogue = _nameless(manifest.source, tokens.canonical_row_V.astype(np.int64))
    news = News.of(catalogue, np.asarray(tokens.tokens_version_V))
    stamp = _stamp(path, saved, catalogue.source, manifest.version_of(ITEM_TOKENS.name))
    table = (lake or out) / EMBEDDINGS.name
    held = held_vectors(table, stamp, news)
    return _ExportRequest(prepared, stored, catalogue, news, stamp, held, still_right(news, held), table)


def _nameless(source: str, canonical_row_V: NDArray[np.int64]) -> Catalogue:
    """The items of a packed directory whose lake is not at hand."""
    nothing_V = np.full(len(canonical_row_V), "", object)
    return Catalogue(
        source=source,
        news_id_V=nothing_V,
        category_V=nothing_V,
        subcategory_V=nothing_V,
        title_V=nothing_V,
        canonical_row_V=canonical_row_V,
    )


def _stamp(path: Path, saved: Checkpoint, source: str, item_tokens_version: int) -> Stamp:
    with (path / "model.safetensors").open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    run = run_folder_of(path)
    return Stamp(
        source=source,
        checkpoint=path.name if run is None else f"{run.name}/{path.name}",
        checkpoint_sha256=sha256,
        step=int(saved.state["position"]["step"]),
        item_tokens_version=item_tokens_version,
    )


def _is_of(earlier: Record, asked: _ExportRequest, kind: IndexKind) -> bool:
    """Whether the earlier export is of the same data and index; its vectors are known to be right."""
    same_data = earlier.data == asked.prepared.directory.manifest_sha256
    same_vectors = (earlier.checkpoint_sha256, earlier.tables.get(EMBEDDINGS.name)) == (
        asked.stamp.checkpoint_sha256,
        version_of(asked.table),
    )
    return same_data and same_vectors and earlier.index["kind"] == kind


def _vectors(asked: _ExportRequest, progress: Progress) -> tuple[Vectors, int]:
    """(the vector of every news (N, D), how many had to be encoded)."""
    news, prepared = asked.news, asked.prepared
    known_K, vector_KD = known_vectors(news, asked.held)
    row_C, slot_N = np.unique(news.canonical_N, return_inverse=True)
    new_C = ~np.isin(row_C, known_K)
    total = int(new_C.sum())
    vector_CD = np.empty((len(row_C), prepared.config.encoder.vector_width), np.float32)
    if vector_KD is not None:
        vector_CD[~new_C] = vector_KD
    vector_CD[new_C] = encode_any(
        prepared.encoder,
        prepared.items,
        row_C[new_C],
        stored=asked.stored,
        progress=lambda done: progress(done, total),
    )
    return vector_CD[slot_N], total


def _users(asked: _ExportRequest, vector_ND: Vectors) -> Vectors:
    """States (M, D) of users of the evaluation impressions, for searches; at least the one without clicks."""
    prepared, row_N = asked.prepared, asked.news.row_N
    user = copy.deepcopy(prepared.head.user).cpu()
    impressions = Impressions.of(prepared.directory.evaluation())
    lists = histories(impressions, limit=USERS, latest=prepared.config.run.history_clicks)
    known = [rows[np.isin(rows, row_N)] for rows in lists] or [row_N[:0]]
    return np.stack([user_state(user, vector_ND[np.searchsorted(row_N, rows)]) for rows in known])


def _fill(out: Path, asked: _ExportRequest, vector_ND: Vectors, built: Built, *, in_lake: bool) -> Record:
    """Write the folder, in it or in the lake the vectors, and the record last."""
    prepared, news, now = asked.prepared, asked.news, this_moment()
    manifest = prepared.directory.manifest
    weights = sum(tensor.nbytes for tensor in prepared.model.state_dict().values())
    # The index and, where it is not the lake's, the table hold the vectors; news.parquet is small beside them.
    with export_folder(out, needed=weights + (1 if in_lake else 2) * vector_ND.nbytes) as folder:
        write_encoder(folder / ENCODER, prepared.encoder, prepared.config.encoder, manifest.tokens)
        write_rest(folder, built.index, prepared.head.user, news, asked.catalogue)
        table: Path | Place = asked.table if in_lake else folder / EMBEDDINGS.name
        due_N = ~asked.right_N
        if due_N.any():
            rows = table_of(news.at(due_N), vector_ND[due_N], asked.stamp, now)
            with space_for(_local(table, out), vector_ND[due_N].nbytes):
                write_vectors(table, rows, asked.stamp.source, anew=asked.held is None)
        record = Record(
            source=asked.stamp.source,
            checkpoint=asked.stamp.checkpoint,
            checkpoint_sha256=asked.stamp.checkpoint_sha256,
            step=asked.stamp.step,
            data=prepared.directory.manifest_sha256,
            tables={**manifest.inputs, EMBEDDINGS.name: version_of(table)},
            embeddings=_whole_name(asked.table) if in_lake else EMBEDDINGS.name,
            news=len(news.row_N),
            vectors=len(np.unique(news.canonical_N)),
            vector_width=vector_ND.shape[1],
            index={"kind": built.kind, "recall_at_10": built.recall, "setting": built.setting},
            history_clicks=prepared.config.run.history_clicks,
            user=asdict(prepared.config.user),
            made_at=now.isoformat(timespec="seconds"),
            files=sums_of(folder),
        )
        write_record(folder, record)
    return record


def _local(table: Path | Place, otherwise: Path) -> Path:
    """The path whose disk a table fills; another where it is behind a URL."""
    place = Place.of(table)
    return place.path if place.is_local else otherwise


def _whole_name(table: Path | Place) -> str:
    """Where a table is, whatever the working directory."""
    place = Place.of(table)
    return str(place.path.resolve() if place.is_local else place)
