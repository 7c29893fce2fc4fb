"""Petastorm schema: what Petastorm wants beside the batch files, apart from writing them, which needs no Petastorm."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import ROW_GROUPS_PER_FILE_KEY, UNISCHEMA_KEY

from pipelines.packing.write import BATCH_SCHEMA, described
from schemas.as_petastorm import packed_batch_unischema
from schemas.manifest import BATCH_FOLDER, FileEntry
from schemas.storage.copies import published
from schemas.storage.place import Place


def write_schema(folder: Path | Place, batch_files: Sequence[FileEntry]) -> FileEntry:
    """Petastorm's own metadata: its schema, and how many row groups each batch file has."""
    row_groups = {Path(entry.path).name: len(entry.superblocks) for entry in batch_files}
    metadata = {
        UNISCHEMA_KEY: pickle.dumps(packed_batch_unischema()),
        ROW_GROUPS_PER_FILE_KEY: json.dumps(row_groups, sort_keys=True).encode(),
    }
    name = f"{BATCH_FOLDER}/_common_metadata"
    with published(Place.of(folder) / name) as path:
        pq.write_metadata(BATCH_SCHEMA.with_metadata(metadata), path)
        return described(path, name)
