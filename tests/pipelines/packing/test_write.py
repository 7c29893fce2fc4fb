from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from petastorm import make_reader

from pipelines.packing.assemble import Arrays, assemble
from pipelines.packing.petastorm_schema import write_schema
from pipelines.packing.shard import Shard
from pipelines.packing.write import (
    build_directory,
    entry_of,
    existing_manifest,
    write_batches,
    write_manifest,
    write_plain,
)
from schemas.errors import InputError
from schemas.manifest import BATCH_FOLDER, FileEntry, Manifest, Superblock, Tokens
from schemas.packed_batch import FORMAT_VERSION

TOKENS = Tokens(
    special_tokens=2,
    fields=("title",),
    select="text",
    tokenizer="t",
    tokenizer_sha256="0" * 64,
    vocabulary=9,
    pad_id=0,
    tokens_per_segment=4,
    segments_per_item=1,
    rows=1,
)


def random_batches(count: int) -> list[Arrays]:
    rng = np.random.default_rng(5)
    lengths, candidates = rng.integers(1, 7, 3 * count), rng.integers(0, 5, 200)
    clicks = int(lengths.sum())
    starts = np.concatenate([[0], np.cumsum(candidates[:clicks])])
    shard = Shard(
        click_start=np.concatenate([[0], np.cumsum(lengths)]),
        click_row=rng.integers(1, 50, clicks, np.int32),
        prefix=rng.integers(0, 3, clicks, np.int32),
        weight=(candidates[:clicks] > 0).astype(np.float32),
        logged=candidates[:clicks] > 0,
        candidate_start=starts,
        candidate_row=rng.integers(1, 50, int(starts[-1]), np.int32),
    )
    return [assemble(shard, 3 * number, 3 * number + 3, batch_id=number) for number in range(count)]


def batch_file(folder: Path, name: str, batches: list[Arrays], size: int) -> FileEntry:
    path = folder / BATCH_FOLDER / name
    write_batches(path, batches, superblock_batches=size)
    ids = [int(batch["batch_id"][0]) for batch in batches]
    groups = [ids[start : start + size] for start in range(0, len(ids), size)]
    ones = [(1,) * len(group) for group in groups]
    blocks = (
        Superblock(batches=tuple(group), targets=one, weights=one, items=one, trajectories=len(group))
        for group, one in zip(groups, ones, strict=True)
    )
    return entry_of(folder, path, rows=len(batches), superblocks=tuple(blocks))


def manifest_of(*files: FileEntry) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        files=files,
        tokens=TOKENS,
        inputs={"trajectories": 3},
        config={},
        counts={},
        created_at="now",
    )


def test_petastorm_gives_back_the_same_arrays_in_order(tmp_path: Path) -> None:
    batches = random_batches(7)
    with build_directory(tmp_path / "packed") as folder:
        files = [batch_file(folder, "a.parquet", batches[:4], 3), batch_file(folder, "b.parquet", batches[4:], 3)]
        write_schema(folder, files)
    url = (tmp_path / "packed" / BATCH_FOLDER).as_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with make_reader(url, reader_pool_type="dummy", shuffle_row_groups=False) as reader:
            found = [row._asdict() for row in reader]
    assert len(found) == len(batches)
    for arrays, wanted in zip(found, batches, strict=True):
        assert arrays.keys() == wanted.keys()
        for name, array in wanted.items():
            assert arrays[name].dtype == array.dtype
            np.testing.assert_array_equal(arrays[name], array)


def test_a_directory_is_there_only_once_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "packed"
    with build_directory(out) as folder:
        (folder / "tokens" / "x").write_text("x")
        assert not out.exists()
    assert (out / "tokens" / "x").read_text() == "x"
    assert os.listdir(out.parent) == ["packed"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), build_directory(tmp_path / "packed"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_the_folder_of_a_killed_run_is_swept_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    kill = (
        "import os, sys; from pathlib import Path; from pipelines.packing.write import build_directory\n"
        "with build_directory(Path(sys.argv[1])): os._exit(9)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", kill, str(tmp_path / "packed")], env={**os.environ, "PYTHONPATH": "."}
    )
    assert killed.returncode == 9
    assert [name.endswith(".incomplete") for name in os.listdir(tmp_path)] == [True]
    with build_directory(tmp_path / "packed") as living:
        assert os.listdir(tmp_path) == [living.name]
        with build_directory(tmp_path / "packed"):
            assert living.exists()
        (tmp_path / "packed").rename(tmp_path / "first")
    assert sorted(os.listdir(tmp_path)) == ["first", "packed"]


def test_files_that_the_manifest_does_not_list_are_dropped(tmp_path: Path) -> None:
    with build_directory(tmp_path / "packed") as folder:
        file = batch_file(folder, "won.parquet", random_batches(2), 1)
        batch_file(folder, "lost.parquet", random_batches(2), 1)
        write_manifest(folder, manifest_of(file))
    assert os.listdir(tmp_path / "packed" / BATCH_FOLDER) == ["won.parquet"]
    assert existing_manifest(tmp_path / "packed") == manifest_of(file)


def test_an_absent_or_empty_folder_holds_no_manifest(tmp_path: Path) -> None:
    assert existing_manifest(tmp_path) is None
    assert existing_manifest(tmp_path / "absent") is None


def test_something_else_in_the_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not a packed directory\. Name another --out"):
        existing_manifest(tmp_path)
    with pytest.raises(InputError, match="Name another --out"), build_directory(tmp_path):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_directory_of_another_version_is_left_alone(tmp_path: Path) -> None:
    with build_directory(tmp_path / "packed") as folder:
        older = replace(manifest_of(batch_file(folder, "a.parquet", random_batches(2), 1)), format_version=1)
        write_manifest(folder, older)
    with pytest.raises(InputError, match=r"packed: its manifest is of another version of feedloop"):
        existing_manifest(tmp_path / "packed")


def test_a_directory_that_lost_a_file_is_named(tmp_path: Path) -> None:
    with build_directory(tmp_path / "packed") as folder:
        write_manifest(folder, manifest_of(batch_file(folder, "a.parquet", random_batches(2), 1)))
    (tmp_path / "packed" / BATCH_FOLDER / "a.parquet").unlink()
    with pytest.raises(InputError, match=r"a.parquet: missing or changed"):
        existing_manifest(tmp_path / "packed")


def test_plain_files_count_their_rows(tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2, 3]})
    assert write_plain(tmp_path / "x.parquet", table.to_batches(max_chunksize=2), table.schema) == 3
