"""An exported checkpoint gives the trainer's vectors from every file; only new news are encoded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from schemas.embedding import EMBEDDINGS
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE
from schemas.token_table import file_of
from tests.exported import SOURCE, checkpoint_at, config_of, write_news
from tests.packed import packed_directory, tiny_plm
from trainer.checkpoint.files import load_checkpoint
from trainer.data.directory import PackedDirectory
from trainer.eval.lake_rows import delta_rows
from trainer.model.feedloop_encoder import NewsEncoder
from trainer.model.item_vectors import encode_rows
from trainer.serve.embeddings import version_of
from trainer.serve.encode_items import encode_all
from trainer.serve.export_run import export
from trainer.serve.index import IndexKind, vectors_of
from trainer.serve.opened_export import Export
from trainer.setup.automatic import EncodeConfig
from trainer.setup.prepare import load_weights, prepare_again, prepare_to_encode

CPU = torch.device("cpu")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A packed directory of 30 items, its lake, a checkpoint whose frozen output has been stored as training does."""
    packed_directory(tmp_path / "packed", items=30, config={"source": SOURCE})
    write_news(tmp_path / "lake", 30)
    config = config_of(tiny_plm(tmp_path / "plm"))
    checkpoint_at(tmp_path / "run" / "checkpoint" / "step-00000007", config)
    return tmp_path


def exported(
    made: Path, *, data: str = "packed", run: str = "run", lake: bool = True, kind: IndexKind = "flat"
) -> dict[str, Any]:
    return export(
        made / run / "checkpoint",
        made / data,
        made / "out",
        lake=made / "lake" if lake else None,
        kind=kind,
        store=None,
        encode=EncodeConfig(device="cpu"),
        progress=lambda *_: None,
    )


def trainers(made: Path, rows: np.ndarray) -> np.ndarray:
    """The vectors that evaluation sees; the frozen output of all rows in batches and impressions is stored by this."""
    saved = load_checkpoint(made / "run" / "checkpoint" / "step-00000007")
    prepared = prepare_again(saved, made / "packed", store=None, device=CPU)
    load_weights(prepared.model, saved)
    prepared.encoder.eval()
    return encode_rows(lambda row_C: prepared.encoder(row_C, prepared.items), prepared.items, rows).numpy()


def table(folder: Path) -> pa.Table:
    columns = {"item_row": pa.int64(), "item_id": pa.string(), "vector": pa.list_(pa.float32())}
    return delta_rows(folder / EMBEDDINGS.name, columns, where=("source", SOURCE)).sort_by("item_row")


def grown(made: Path, *, changed: int) -> None:
    """36 items in the lake, and packed: the first 30 as before, but for the `changed` one's tokens_version."""
    write_news(made / "lake", 36)
    packed = packed_directory(made / "grown", items=36, config={"source": SOURCE})
    file = packed / file_of("tokens_version_V")
    versions = np.load(file)
    versions[changed] += 1
    np.save(file, versions)
    manifest = json.loads((packed / MANIFEST_FILE).read_text())
    manifest["inputs"]["item_tokens"] = 1
    for entry in manifest["files"]:
        if entry["path"] == file_of("tokens_version_V"):
            entry["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (packed / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_every_vector_is_the_trainers_wherever_it_is_read(made: Path) -> None:
    rows = np.arange(1, 31)
    wanted = trainers(made, rows)
    summary = exported(made)
    assert (summary["encoded"], summary["written"], summary["news"]) == (30, 30, 30)
    assert (summary["checkpoint"], summary["step"]) == ("run/step-00000007", 7)
    stored = table(made / "lake")
    assert stored["item_id"].to_pylist() == [f"n{row}" for row in rows]
    assert np.allclose(np.array(stored["vector"].to_pylist()), wanted, atol=1e-5)
    opened = Export.open(made / "out")
    assert np.allclose(vectors_of(opened.index, rows), wanted, atol=1e-5)
    ids = PackedDirectory.open(made / "packed").token_table()
    starts = ids.token_start_S1
    items = [[ids.token_values[starts[row - 1] : starts[row]].tolist()] for row in rows]  # one segment each
    assert np.allclose(NewsEncoder(made / "out" / "encoder").encode(items).numpy(), wanted, atol=1e-5)
    assert np.abs(wanted).max() > 0.1


def test_rows_whose_frozen_output_is_not_stored_pass_through_all_layers(made: Path) -> None:
    rows = np.arange(1, 31)
    wanted = trainers(made, rows)
    saved = load_checkpoint(made / "run" / "checkpoint" / "step-00000007")
    prepared, stored = prepare_to_encode(saved, made / "packed", store=None, device=CPU)
    assert len(stored) > 20
    assert prepared.items.store_H is not None
    elsewhere, none = prepare_to_encode(saved, made / "packed", store=made / "nowhere", device=CPU)
    assert (len(none), elsewhere.items.store_H) == (0, None)
    prepared.items.store_H = torch.zeros_like(prepared.items.store_H)  # used by no row
    done: list[int] = []
    found = encode_all(prepared.encoder, prepared.items, rows, stored=rows[:0], progress=done.append)
    assert np.allclose(found, wanted, atol=1e-4)
    assert sum(done) == 30
    assert not np.allclose(
        encode_all(prepared.encoder, prepared.items, rows, stored=rows, progress=done.append), wanted, atol=1e-2
    )


def test_again_nothing_is_done(made: Path) -> None:
    first = exported(made)
    when = (made / "out" / "export.json").stat().st_mtime_ns
    again = exported(made)
    assert (again["encoded"], again["written"]) == (0, 0)
    assert again["made_at"] == first["made_at"]
    assert (made / "out" / "export.json").stat().st_mtime_ns == when
    assert version_of(made / "lake" / EMBEDDINGS.name) == 0


def test_another_kind_of_index_encodes_nothing(made: Path) -> None:
    exported(made)
    summary = exported(made, kind="hnsw")
    assert (summary["encoded"], summary["index"]["kind"], summary["index"]["recall_at_10"]) == (0, "hnsw", 1.0)


@pytest.mark.parametrize("lake", [True, False])
def test_a_grown_catalogue_costs_what_is_new_or_has_changed(made: Path, lake: bool) -> None:
    exported(made, lake=lake)
    folder = made / "lake" if lake else made / "out"
    before = table(folder)["vector"].to_pylist()
    grown(made, changed=5)
    summary = exported(made, data="grown", lake=lake)
    assert (summary["encoded"], summary["written"], summary["news"]) == (7, 7, 36)
    after = table(folder)
    assert after["item_row"].to_pylist() == list(range(1, 37))
    assert [row + 1 for row in range(30) if after["vector"][row].as_py() != before[row]] in ([], [5])
    assert version_of(folder / EMBEDDINGS.name) == 1
    assert Export.open(made / "out").index.ntotal == 36
    with pytest.raises(InputError, match="Name a directory packed since"):
        exported(made, lake=lake)


def test_another_checkpoint_encodes_all_again(made: Path) -> None:
    exported(made)
    before = np.array(table(made / "lake")["vector"].to_pylist())
    checkpoint_at(made / "next" / "checkpoint" / "step-00000008", config_of(str(made / "plm")), seed=1)
    summary = exported(made, run="next")
    assert (summary["encoded"], summary["checkpoint"], summary["step"]) == (30, "next/step-00000008", 8)
    assert np.abs(np.array(table(made / "lake")["vector"].to_pylist()) - before).max() > 1e-3
    assert version_of(made / "lake" / EMBEDDINGS.name) == 1


def test_without_a_lake_news_have_their_rows_alone(made: Path) -> None:
    summary = exported(made, lake=False)
    assert summary["embeddings"] == EMBEDDINGS.name
    assert set(table(made / "out")["item_id"].to_pylist()) == {None}
    assert set(Export.open(made / "out").news["news_id"].tolist()) == {""}


def test_folded_news_are_encoded_once_and_each_has_its_vector(made: Path) -> None:
    (made / "lake").rename(made / "unfolded")
    write_news(made / "lake", 30, canonical={9: 2, 12: 2})
    summary = exported(made)
    assert (summary["encoded"], summary["vectors"], summary["news"]) == (28, 28, 30)
    found = np.array(table(made / "lake")["vector"].to_pylist())
    assert np.array_equal(found[8], found[1])
    assert np.array_equal(found[11], found[1])


def test_a_lost_folder_is_made_again_from_the_table(made: Path) -> None:
    exported(made)
    shutil.rmtree(made / "out")
    summary = exported(made)
    assert (summary["encoded"], summary["written"]) == (0, 0)
    assert Export.open(made / "out").index.ntotal == 30
