"""The files of an export that are damaged, of another kind or of another export: recommend names them and stops."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from jobs.cli.command_line import run
from jobs.recommend import recommend
from schemas.delta_uri import table_uri
from schemas.errors import InputError
from tests.damage import HANG, ODD_FILES, in_place_of, refusal
from tests.trainer.serve.test_recommend import ROWS, VECTORS
from trainer.model.user_encoder import UserEncoder, UserEncoderConfig
from trainer.serve.export_files import FileSum, Record, sums_of, write_record
from trainer.serve.index import build_index
from trainer.serve.opened_export import Export

pytestmark = pytest.mark.timeout(HANG)
ADVICE = r"Remove .* and export again"
NEWS, INDEX, USER = "news.parquet", "index.faiss", "user.safetensors"


def news_table(rows: Any = ROWS) -> pa.Table:
    texts = [f"text {row}" for row in rows]
    return pa.table(
        {
            "item_row": pa.array(rows, pa.int64()),
            "canonical_row": pa.array(rows, pa.int64()),
            "news_id": [f"n{row}" for row in rows],
            "category": texts,
            "subcategory": texts,
            "title": texts,
        }
    )


def record_of(files: dict[str, FileSum]) -> Record:
    return Record(
        source="paper", checkpoint="run/step-1", checkpoint_sha256="", step=1, data="", tables={}, embeddings="",
        news=40, vectors=40, vector_width=8, index={}, history_clicks=3, user={"attention_width": 4}, made_at="",
        files=files,
    )  # fmt: skip


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    pq.write_table(news_table(), folder / NEWS)
    faiss.write_index(build_index(VECTORS, ROWS, "flat", VECTORS[:1]).index, str(folder / INDEX))
    torch.manual_seed(0)
    weights = UserEncoder(UserEncoderConfig(attention_width=4), vector_width=8).state_dict()
    (folder / USER).write_bytes(save(weights))
    write_record(folder, record_of(sums_of(folder)))
    return folder


def put(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and its sum in the record, as an attacker would."""
    (folder / name).write_bytes(content)
    record = json.loads((folder / "export.json").read_text())
    record["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "export.json").write_text(json.dumps(record))


def parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def index(made: Any) -> bytes:
    return bytes(faiss.serialize_index(made))


def with_ids(inner: Any, rows: Any, vectors: Any) -> Any:
    found = faiss.IndexIDMap2(inner)
    found.add_with_ids(vectors, rows)
    return found


class Hostile:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("ran").touch, ())


WEIGHTS = UserEncoder(UserEncoderConfig(attention_width=4), vector_width=8).state_dict()
DAMAGE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "news without a column": (NEWS, lambda: parquet(news_table().drop_columns(["title"])), "no column title"),
    "news of other types": (
        NEWS,
        lambda: parquet(news_table().set_column(0, "item_row", pa.array(map(str, ROWS)))),
        "column item_row is string",
    ),
    "news with an empty cell": (
        NEWS,
        lambda: parquet(news_table().set_column(2, "news_id", pa.array([None] * 40, pa.string()))),
        "column news_id is string with 40 empty cells",
    ),
    "news in another order": (NEWS, lambda: parquet(news_table(ROWS[::-1])), "do not ascend"),
    "news twice": (NEWS, lambda: parquet(news_table([1, *range(1, 40)])), "do not ascend"),
    "fewer news": (NEWS, lambda: parquet(news_table(ROWS[:-1])), "39 news, export.json says 40"),
    "other news": (NEWS, lambda: parquet(news_table(ROWS + 1)), "index.faiss: its ids are not the item rows"),
    "no Parquet": (NEWS, lambda: b"PAR1 PAR1", "damaged"),
    "a Parquet cut short": (NEWS, lambda: parquet(news_table())[:-20], "damaged"),
    "an index without ids": (INDEX, lambda: index(faiss.IndexFlatIP(8)), "a IndexFlatIP, not an index with ids"),
    "an index of another width": (
        INDEX,
        lambda: index(with_ids(faiss.IndexFlatIP(4), ROWS, VECTORS[:, :4].copy())),
        "40 vectors of 4",
    ),
    "an index of fewer": (
        INDEX,
        lambda: index(with_ids(faiss.IndexFlatIP(8), ROWS[:9], VECTORS[:9])),
        "9 vectors of 8",
    ),
    "an index of other ids": (
        INDEX,
        lambda: index(with_ids(faiss.IndexFlatIP(8), ROWS + 7, VECTORS)),
        "its ids are not the item rows",
    ),
    "an index of distances": (INDEX, lambda: index(with_ids(faiss.IndexFlatL2(8), ROWS, VECTORS)), "of distances"),
    "no index": (INDEX, lambda: b"nothing of FAISS", "damaged"),
    "an index cut short": (
        INDEX,
        lambda: index(with_ids(faiss.IndexFlatIP(8), ROWS, VECTORS))[:300],
        "damaged",
    ),
    "weights cut short": (USER, lambda: save(WEIGHTS)[:-9], "damaged"),
    "weights as a pickle": (USER, lambda: pickle.dumps(Hostile()), "damaged"),
    "no weights": (USER, lambda: b"", "damaged"),
    "weights of nothing": (USER, lambda: save({}), "damaged"),
    "weights of other shapes": (
        USER,
        lambda: save({name: torch.zeros(3, *found.shape) for name, found in WEIGHTS.items()}),
        "damaged",
    ),
    "a header of a terabyte": (USER, lambda: (1 << 40).to_bytes(8, "little") + b"{}", "damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_an_invalid_file_raises_an_error_that_names_it(
    export: Path, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, says = DAMAGE[what]
    put(export, name, content())
    assert says in refusal(lambda: Export.open(export), name, ADVICE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", [NEWS, INDEX, USER])
def test_only_regular_files_are_opened(export: Path, name: str, kind: str) -> None:
    with in_place_of(export / name, ODD_FILES[kind]):
        refusal(lambda: Export.open(export), name, ADVICE)
    Export.open(export)


def test_a_file_that_changed_since_it_was_written_raises_an_error(export: Path) -> None:
    content = bytearray((export / INDEX).read_bytes())
    content[-1] ^= 1
    (export / INDEX).write_bytes(bytes(content))
    assert "sha256" in refusal(lambda: Export.open(export), str(export / INDEX), ADVICE)
    (export / INDEX).write_bytes(bytes(content[:-1]))
    assert "bytes, export.json says" in refusal(lambda: Export.open(export), str(export / INDEX), ADVICE)


def test_the_job_ends_with_2_and_one_line(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(export, USER, b"")
    assert run(recommend, ["--export", str(export), "--clicked", "n1"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "user.safetensors: damaged" in said


def _in_a_child(path: str, answers: Any) -> None:
    try:
        table_uri(Path(path))
    except InputError as error:
        answers.put(str(error))
    else:
        answers.put("used")


def test_a_process_that_was_forked_after_delta_rs_was_used_is_advised_to_start_again(tmp_path: Path) -> None:
    table_uri(tmp_path)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(str(tmp_path), answers))
    child.start()
    child.join()
    assert "was forked from one that used delta-rs" in answers.get()
    assert table_uri(tmp_path) == os.fspath(tmp_path)
