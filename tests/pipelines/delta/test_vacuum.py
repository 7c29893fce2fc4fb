"""VACUUM removes what killed writers left, and nothing that a version needs, whichever engine wrote it."""

from __future__ import annotations

import base64
import json
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from pipelines.delta.vacuum import vacuum
from schemas.storage.copies import fetch, publish
from schemas.storage.place import Place

LONG_AGO = time.time() - 30 * 86400
ODD = ["plain", "with blank", "50%", "50%25", "a:b=c", "é", "日本", "a+b&c#d?e"]


def table_of(folder: Path, values: list[str]) -> Path:
    write_deltalake(str(folder), pa.table({"source": values, "row": list(range(len(values)))}), partition_by="source")
    return folder


def rows(folder: Path) -> list[int]:
    """Numbers of the rows that a reader finds."""
    table = QueryBuilder().register("stored", DeltaTable(str(folder))).execute("SELECT row FROM stored ORDER BY row")
    return list(pa.table(table)["row"].to_pylist())


def left_behind(folder: Path, name: str, *, at: float = LONG_AGO) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"of a killed writer")
    os.utime(file, (at, at))
    return file


def age(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))


def rewritten(folder: Path, change: Any) -> None:
    """The first commit's actions, changed, as a second commit."""
    log = folder / "_delta_log"
    (added,) = (
        json.loads(line)["add"] for line in (log / f"{0:020}.json").read_text().splitlines() if '{"add"' in line
    )
    removed = {"path": added["path"], "dataChange": True, "deletionTimestamp": int(time.time() * 1000)}
    removed["partitionValues"] = added["partitionValues"]
    actions = [*change(added), {"remove": removed}]
    (log / f"{1:020}.json").write_text("".join(f"{json.dumps(each)}\n" for each in actions))


@pytest.mark.parametrize("at_once", [False, True])
def test_what_killed_writers_left_goes_and_all_rows_stay(tmp_path: Path, at_once: bool) -> None:
    folder = table_of(tmp_path / "table", ODD)
    age(folder)
    old = [left_behind(folder, name) for name in ("part-0.parquet", "source=plain/part-1.parquet")]
    new = left_behind(folder, "source=plain/part-2.parquet", at=time.time())
    before = rows(folder)
    vacuum(str(folder), hours=0 if at_once else None, below_retention=at_once)
    assert rows(folder) == before
    assert len(before) == len(ODD)
    assert [file.exists() for file in [*old, new]] == [False, False, not at_once]


def test_a_bucket_is_swept_too(tmp_path: Path, bucket: str) -> None:
    folder = table_of(tmp_path / "table", ODD)
    left_behind(folder, "source=plain/part-0.parquet")
    place = Place.of(f"{bucket}/table")
    publish(folder, place)
    vacuum(str(place), hours=0, below_retention=True)
    fetch(place, tmp_path / "again")
    assert rows(tmp_path / "again") == rows(folder)
    assert not (tmp_path / "again" / "source=plain" / "part-0.parquet").exists()


def test_rows_that_spark_marked_as_deleted_stay_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    write_deltalake(str(folder), pa.table({"row": [0, 1, 2]}))
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, 1)  # a Roaring bitmap with the number 1
    vector = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    name = UUID(int=7)
    (folder / f"deletion_vector_{name}.bin").write_bytes(
        b"\x01" + struct.pack(">i", len(vector)) + vector + struct.pack(">I", zlib.crc32(vector))
    )

    def marked(added: dict[str, Any]) -> list[dict[str, Any]]:
        feature = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
        where = {"storageType": "u", "pathOrInlineDv": _z85(name.bytes), "offset": 1}
        return [
            {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **feature}},
            {"add": {**added, "deletionVector": {**where, "sizeInBytes": len(vector), "cardinality": 1}}},
        ]

    rewritten(folder, marked)
    age(folder)
    left_behind(folder, "part-0.parquet")
    for how in ({}, {"hours": 0, "below_retention": True}):
        vacuum(str(folder), **how)
        (batch,) = DeltaTable(str(folder)).deletion_vectors()
        assert batch.column("selection_vector").to_pylist() == [[True, False, True]]
    assert not (folder / "part-0.parquet").exists()


def test_files_whose_names_spark_spells_its_own_way_stay(tmp_path: Path) -> None:
    folder = table_of(tmp_path / "table", ["é"])
    (file,) = folder.glob("source=*/*.parquet")
    spelt = folder / "source=é" / file.name
    spelt.parent.mkdir()
    os.link(file, spelt)
    rewritten(folder, lambda added: [{"add": {**added, "path": f"source=é/{file.name}"}}])
    age(folder)
    for how in ({}, {"hours": 0, "below_retention": True}):
        vacuum(str(folder), **how)
        assert spelt.exists()


def _z85(data: bytes) -> str:
    """Base 85 as ZeroMQ writes it, and Delta the names of deletion vectors."""
    return base64.b85encode(data).decode().translate(str.maketrans(_B85, _Z85))


_B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
