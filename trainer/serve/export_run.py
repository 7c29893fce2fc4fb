"""Exports a checkpoint and packed directory as vectors of all news, index and encoders; encodes only new news."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
    News,
    Stamp,
    StoredVectors,
    Vectors,
    reusable_vectors,
    stored_vectors,
    table_of,
    up_to_date,
    version_of,
    write_vectors,
)
from trainer.serve.encode_items import encode_all
from trainer.serve.export_files import (
    ENCODER,
    Record,
    earlier_export,
    is_complete,
    sums_of,
    utc_now,
    write_encoder,
    write_record,
    write_serving_files,
)
from trainer.serve.export_folder import export_folder, export_lock
from trainer.serve.index import Built, IndexKind, build_index
from trainer.serve.user_clicks import histories, user_state
from trainer.setup.automatic import EncodeConfig, device_of
from trainer.setup.prepare import Prepared, Progress, prepare_to_encode

USERS = 512  # users of the evaluation impressions, whose searches measure an approximate index's recall


@dataclass(frozen=True, slots=True)
class _ExportRequest:
    """A requested export: the checkpoint's model on the data, the news, and the vectors stored already."""

    prepared: Prepared
    stored: NDArray[np.int64]
    catalogue: Catalogue
    news: News
    stamp: Stamp
    held: StoredVectors | None
    current_N: BoolArray
    table: Path | Place


def export(
    checkpoint: Path,
    data: Packed | Path,
    out: Path,
    *,
    lake: Path | Place | None,
    kind: IndexKind,
    store: Path | None,
    encode: EncodeConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Brings the embeddings table and the folder `out` up to date with checkpoint and data; returns a summary.

    A kill at any moment leaves each of the two complete, old or new. `progress` is called with the news encoded since
    its last call and the total.
    """
    with export_lock(out):
        earlier = earlier_export(out)
        request = _request(checkpoint, data, (out, lake), store=store, encode=encode)
        if earlier is not None and _is_same(earlier, request, kind) and is_complete(out, earlier):
            return {"encoded": 0, "written": 0, **asdict(earlier)}
        vector_ND, encoded = _vectors(request, progress)
        built = build_index(vector_ND, request.news.row_N, kind, _users(request, vector_ND))
        record = _fill(out, request, vector_ND, built, in_lake=lake is not None)
        return {"encoded": encoded, "written": int((~request.current_N).sum()), **asdict(record)}


def _request(
    checkpoint: Path,
    data: Packed | Path,
    places: tuple[Path, Path | Place | None],
    *,
    store: Path | None,
    encode: EncodeConfig,
) -> _ExportRequest:
    path, (out, lake) = resolve_checkpoint(checkpoint), places
    saved = load_checkpoint(path)
    device = device_of(encode.device)
    prepared, stored = prepare_to_encode(saved, data, store=store, device=device, precision=encode.precision)
    manifest, tokens = prepared.directory.manifest, prepared.directory.token_table()
    if lake is not None:
        catalogue = Catalogue.read(lake, manifest)
    else:
        catalogue = _without_names(manifest.source, tokens.canonical_row_V.astype(np.int64))
    news = News.of(catalogue, np.asarray(tokens.tokens_version_V))
    stamp = _stamp(path, saved, catalogue.source, manifest.version_of(ITEM_TOKENS.name))
    table = (lake or out) / EMBEDDINGS.name
    held = stored_vectors(table, stamp, news)
    return _ExportRequest(prepared, stored, catalogue, news, stamp, held, up_to_date(news, held), table)


def _without_names(source: str, canonical_row_V: NDArray[np.int64]) -> Catalogue:
    """The items of a packed directory without its lake: empty ids, categories and titles."""
    empty_V = np.full(len(canonical_row_V), "", object)
    return Catalogue(
        source=source,
        news_id_V=empty_V,
        category_V=empty_V,
        subcategory_V=empty_V,
        title_V=empty_V,
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


def _is_same(earlier: Record, request: _ExportRequest, kind: IndexKind) -> bool:
    """Whether the earlier export has the same data and kind of index, and all vectors are up to date."""
    same_data = earlier.data == request.prepared.directory.manifest_sha256
    same_vectors = (earlier.checkpoint_sha256, earlier.tables.get(EMBEDDINGS.name)) == (
        request.stamp.checkpoint_sha256,
        version_of(request.table),
    )
    current = bool(request.current_N.all())
    return current and same_data and same_vectors and earlier.index["kind"] == kind


def _vectors(request: _ExportRequest, progress: Progress) -> tuple[Vectors, int]:
    """(the vector of every news (N, D), how many are encoded here)."""
    news, prepared = request.news, request.prepared
    known_K, vector_KD = reusable_vectors(news, request.held)
    row_C, slot_N = np.unique(news.canonical_N, return_inverse=True)
    new_C = ~np.isin(row_C, known_K)
    total = int(new_C.sum())
    vector_CD = np.empty((len(row_C), prepared.config.encoder.vector_width), np.float32)
    if vector_KD is not None:
        vector_CD[~new_C] = vector_KD
    vector_CD[new_C] = encode_all(
        prepared.vector_encoder(),
        prepared.items,
        row_C[new_C],
        stored=request.stored,
        progress=lambda done: progress(done, total),
    )
    return vector_CD[slot_N], total


def _users(request: _ExportRequest, vector_ND: Vectors) -> Vectors:
    """States (M, D) of users of the evaluation impressions, to search for; at least that of a user without clicks."""
    prepared, row_N = request.prepared, request.news.row_N
    user = copy.deepcopy(prepared.head.user).cpu()
    impressions = Impressions.of(prepared.directory.evaluation())
    lists = histories(impressions, limit=USERS, latest=prepared.config.run.history_clicks)
    known = [rows[np.isin(rows, row_N)] for rows in lists] or [row_N[:0]]
    return np.stack([user_state(user, vector_ND[np.searchsorted(row_N, rows)]) for rows in known])


def _fill(out: Path, request: _ExportRequest, vector_ND: Vectors, built: Built, *, in_lake: bool) -> Record:
    """Writes the folder, the vectors in it or in the lake, and the record last."""
    prepared, news, now = request.prepared, request.news, utc_now()
    manifest = prepared.directory.manifest
    weights = sum(tensor.nbytes for tensor in prepared.model.state_dict().values())
    # The index holds the vectors, and so does the table unless it is in the lake; news.parquet is small.
    with export_folder(out, needed=weights + (1 if in_lake else 2) * vector_ND.nbytes) as folder:
        write_encoder(folder / ENCODER, prepared.encoder, prepared.config.encoder, manifest.tokens)
        write_serving_files(folder, built.index, prepared.head.user, news, request.catalogue)
        table: Path | Place = request.table if in_lake else folder / EMBEDDINGS.name
        due_N = ~request.current_N
        if due_N.any():
            rows = table_of(news.at(due_N), vector_ND[due_N], request.stamp, now)
            with space_for(_local(table, out), vector_ND[due_N].nbytes):
                write_vectors(table, rows, request.stamp.source, replace_all=request.held is None)
        record = Record(
            source=request.stamp.source,
            checkpoint=request.stamp.checkpoint,
            checkpoint_sha256=request.stamp.checkpoint_sha256,
            step=request.stamp.step,
            data=prepared.directory.manifest_sha256,
            tables={**manifest.inputs, EMBEDDINGS.name: version_of(table)},
            embeddings=_absolute_name(request.table) if in_lake else EMBEDDINGS.name,
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
    """The path on the disk that a table fills; `otherwise` for a table behind a URL."""
    place = Place.of(table)
    return place.path if place.is_local else otherwise


def _absolute_name(table: Path | Place) -> str:
    """The place of a table, independent of the working directory."""
    place = Place.of(table)
    return str(place.path.resolve() if place.is_local else place)
