"""Writes Petastorm's metadata next to the batch files; the batch files themselves need no Petastorm."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from petastorm.etl.dataset_metadata import ROW_GROUPS_PER_FILE_KEY, UNISCHEMA_KEY

from pipelines.packing.write import BATCH_SCHEMA, describe_file
from schemas.as_petastorm import packed_batch_unischema
from schemas.manifest import BATCH_FOLDER, FileEntry
from schemas.storage.copies import published
from schemas.storage.place import Place


def write_schema(folder: Path | Place, batch_files: Sequence[FileEntry]) -> FileEntry:
    """Write Petastorm's schema and the number of row groups of each batch file."""
    row_groups = {Path(entry.path).name: len(entry.superblocks) for entry in batch_files}
    metadata = {
        UNISCHEMA_KEY: pickle.dumps(packed_batch_unischema()),
        ROW_GROUPS_PER_FILE_KEY: json.dumps(row_groups, sort_keys=True).encode(),
    }
    name = f"{BATCH_FOLDER}/_common_metadata"
    with published(Place.of(folder) / name) as path:
        pq.write_metadata(BATCH_SCHEMA.with_metadata(metadata), path)
        return describe_file(path, name)
