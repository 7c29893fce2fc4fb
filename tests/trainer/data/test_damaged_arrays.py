"""Invalid token arrays, batches and evaluation rows raise an error that names the file, even with matching sums."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli.command_line import run
from jobs.inspect_batches import inspect_batches
from schemas.cells import encoded
from schemas.errors import ContractError
from schemas.manifest import MANIFEST_FILE
from tests.damage import HANG, refusal
from tests.packed import packed_directory
from trainer.data.backends import BACKENDS, BackendName
from trainer.data.description import describe
from trainer.data.directory import PackedDirectory
from trainer.data.reader import checked_superblock

pytestmark = pytest.mark.timeout(HANG)
ADVICE = r"Pack again with jobs\.pack"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", config={"source": "p"}, unlabelled=3)


def put(directory: Path, name: str, content: bytes) -> None:
    """Replace a file, and its size and sum in the manifest, as an attacker would."""
    (directory / name).write_bytes(content)
    file = directory / MANIFEST_FILE
    manifest = json.loads(file.read_text())
    (entry,) = (entry for entry in manifest["files"] if entry["path"] == name)
    entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), spans=[])
    file.write_text(json.dumps(manifest))


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


class Hostile:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("ran").touch, ())


def token_damage(directory: Path) -> dict[str, tuple[str, bytes, str]]:
    """Name -> (array, its bytes, part of the message)."""
    found = {path.stem: np.load(path) for path in (directory / "tokens").iterdir()}

    def other(name: str, change: Callable[[Any], Any]) -> tuple[str, bytes]:
        array = found[name].copy()
        changed = change(array)
        return name, npy(array if changed is None else changed)

    return {
        "a pickle": ("token_values", pickle.dumps(Hostile()).ljust(4096, b"."), "no .npy array"),
        "objects": ("token_values", npy(np.array([Hostile()] * 300, object)), "an array of object"),
        "structured": (*other("token_values", lambda a: a.view([("x", "u2")])), "an array of"),
        "signed": (*other("token_values", lambda a: a.astype(np.int16)), "token_values is int16"),
        "two axes": (*other("canonical_row_V", lambda a: a[None]), "canonical_row_V is int32 of 2 axes"),
        "shorter": (*other("canonical_row_V", lambda a: a[:-1]), "arrays disagree on segments or rows"),
        "a row below 0": (*other("canonical_row_V", lambda a: a.__setitem__(3, -4)), "names the pad, or a row"),
        "a row beyond": (*other("canonical_row_V", lambda a: a.__setitem__(3, 4000)), "names the pad, or a row"),
        "the pad": (*other("canonical_row_V", lambda a: a.__setitem__(3, 0)), "names the pad, or a row"),
        "starts that fall": (*other("token_start_S1", lambda a: a.__setitem__(3, 10**6)), "does not rise"),
        "starts below 0": (*other("segment_start_V1", lambda a: a.__setitem__(3, -1)), "segment_start_V1 falls"),
        "words beyond the vocabulary": (*other("token_values", lambda a: a.__setitem__(3, 60_000)), "token id up to"),
        "an unknown field": (*other("segment_field_S", lambda a: a.__setitem__(0, 9)), "field up to 9"),
    }


def test_invalid_token_arrays_raise_an_error(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for what, (name, content, says) in token_damage(packed).items():
        intact = (packed / f"tokens/{name}.npy").read_bytes()
        put(packed, f"tokens/{name}.npy", content)
        message = refusal(PackedDirectory.open(packed).token_table, "tokens", ADVICE)
        assert says in message, (what, message)
        put(packed, f"tokens/{name}.npy", intact)
    assert not (tmp_path / "ran").exists()
    PackedDirectory.open(packed).token_table()


def first_batches(directory: Path, backend: BackendName = "arrow") -> None:
    """Read the two superblocks of the first file."""
    opened = PackedDirectory.open(directory)
    arriving = BACKENDS[backend](opened, [0, 1])
    for number in (0, 1):
        checked_superblock(opened, number, next(arriving, []))


def cell_damage() -> dict[str, tuple[str, Callable[[bytes], bytes | None], str]]:
    """Name -> (field, its first cell changed, part of the message)."""

    def other(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
        def changed(cell: bytes) -> bytes:
            array = np.load(io.BytesIO(cell))
            found = change(array)
            return encoded(array if found is None else found)

        return changed

    return {
        "a pickle": ("item_row_N", lambda _: pickle.dumps(Hostile()), "no .npy array"),
        "objects": ("item_row_N", lambda _: npy(np.array([Hostile()], object)), "an array of object"),
        "structured": ("item_row_N", other(lambda a: a.view([("x", "i4")])), "an array of"),
        "no cell": ("item_row_N", lambda _: None, "a cell without an array"),
        "a row below 0": ("item_row_N", other(lambda a: a.__setitem__(0, -3)), "the pad or a row beyond"),
        "the pad": ("item_row_N", other(lambda a: a.__setitem__(0, 0)), "the pad or a row beyond"),
        "a row beyond": ("item_row_N", other(lambda a: a.__setitem__(-1, 31)), "the pad or a row beyond the 31"),
        "doubled": ("item_row_N", other(lambda a: a.__setitem__(1, a[0])), "an item twice, or out of order"),
        "unsorted": ("item_row_N", other(lambda a: a[::-1].copy()), "an item twice, or out of order"),
        "a slot beyond": ("click_slot_BL", other(lambda a: a.__setitem__((0, 0), 999)), "points outside"),
        "the future": ("prefix_BL", other(lambda a: a.__setitem__((0, 0), 5)), "shows a target itself"),
        "a weight of NaN": ("weight_BL", other(lambda a: a.__setitem__((0, 0), np.nan)), "not finite"),
        "fewer axes": ("weight_BL", other(lambda a: a[0]), "weight_BL is float32 of 1 axes"),
        "longer": ("weight_BL", other(lambda a: np.concatenate([a, a], 1)), "along L"),
    }


@pytest.mark.parametrize("backend", ["arrow", "petastorm"])
def test_invalid_cells_raise_an_error(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: BackendName
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "batches/part-0.parquet"
    intact = (packed / name).read_bytes()
    file = pq.ParquetFile(io.BytesIO(intact))
    groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    for what, (field, change, says) in cell_damage().items():
        cells = groups[0][field].to_pylist()
        place = groups[0].column_names.index(field)
        changed = groups[0].set_column(
            place, groups[0].schema.field(field).with_nullable(True), [[change(cells[0]), *cells[1:]]]
        )
        stream = io.BytesIO()
        with pq.ParquetWriter(stream, changed.schema) as writer:
            for group in (changed, *groups[1:]):
                writer.write_table(group.cast(changed.schema))
        put(packed, name, stream.getvalue())
        message = refusal(lambda: first_batches(packed, backend), "part-0.parquet", ADVICE)
        assert says in message, (what, message)
    assert not (tmp_path / "ran").exists()
    put(packed, name, intact)
    first_batches(packed, backend)


@pytest.mark.parametrize("backend", ["arrow", "petastorm"])
@pytest.mark.parametrize(
    "what", ["a missing column", "another file's Parquet", "row groups in another order", "no Parquet"]
)
def test_invalid_batch_files_raise_an_error(packed: Path, backend: BackendName, what: str) -> None:
    name = "batches/part-0.parquet"
    file = pq.ParquetFile(packed / name)
    stream = io.BytesIO()
    if what == "a missing column":
        pq.write_table(file.read().drop_columns(["item_row_N"]), stream)
    elif what == "another file's Parquet":
        stream.write(next((packed / "evaluation").iterdir()).read_bytes())
    elif what == "row groups in another order":
        with pq.ParquetWriter(stream, file.schema_arrow) as writer:
            for number in reversed(range(file.num_row_groups)):
                writer.write_table(file.read_row_group(number))
    else:
        stream.write(b"PAR1 nothing PAR1")
    put(packed, name, stream.getvalue())
    refusal(lambda: first_batches(packed, backend), "part-0.parquet", ADVICE)


def changed_list(name: str, change: Callable[[list[Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    """The first impression's list changed."""

    def changed(table: pa.Table) -> pa.Table:
        cells = table[name].to_pylist()
        cells[0] = change(list(cells[0]))
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(cells, table.schema.field(name).type))

    return changed


EVALUATION_DAMAGE: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a missing column": (lambda t: t.drop_columns(["shown_row"]), "lacks the column shown_row"),
    "another type": (
        lambda t: t.set_column(0, "source", pa.array(range(len(t)))),
        "column source is int64, not string",
    ),
    "a row fewer": (lambda t: t.slice(1), "22 impressions, the manifest says 23"),
    "a row beyond": (changed_list("shown_row", lambda a: [31, *a[1:]]), "beyond the 31 of the token table"),
    "a row below 0": (changed_list("shown_row", lambda a: [-1, *a[1:]]), "beyond the 31"),
    "a history below 0": (changed_list("history_row", lambda a: [-1]), "beyond the 31"),
    "a history of the pad": (changed_list("history_row", lambda a: [0]), "beyond the 31"),
    "a history of nothing": (changed_list("history_row", lambda a: [None]), "has an empty entry"),
    "the pad with marks": (changed_list("shown_row", lambda a: [0, *a[1:]]), "names the pad"),
    "marks of another length": (changed_list("clicked", lambda a: a[1:]), "clicked does not have one value"),
    "a mark of nothing": (changed_list("clicked", lambda a: [None, *a[1:]]), "clicked has an empty mark"),
    "ids of another length": (changed_list("shown_id", lambda a: [*a, "x"]), "shown_id does not have one value"),
    "ages of NaN": (changed_list("shown_age_hours", lambda a: [float("nan"), *a[1:]]), "shown_age_hours is negative"),
    "no list at all": (changed_list("history_row", lambda a: None), "history_row has 1 empty cells"),
}


@pytest.mark.parametrize("what", EVALUATION_DAMAGE)
def test_invalid_evaluation_rows_raise_an_error(packed: Path, what: str) -> None:
    change, says = EVALUATION_DAMAGE[what]
    (path,) = (packed / "evaluation").iterdir()
    stream = io.BytesIO()
    pq.write_table(change(pq.read_table(path)), stream)
    put(packed, f"evaluation/{path.name}", stream.getvalue())
    assert says in refusal(PackedDirectory.open(packed).evaluation, path.name, ADVICE)


def test_an_evaluation_file_of_another_kind_raises_an_error(packed: Path) -> None:
    (path,) = (packed / "evaluation").iterdir()
    for content in (b"", b"PAR1", path.read_bytes()[:-9], (packed / "batches/part-0.parquet").read_bytes()):
        put(packed, f"evaluation/{path.name}", content)
        refusal(PackedDirectory.open(packed).evaluation, path.name, ADVICE)


def test_columns_added_later_may_be_absent(packed: Path) -> None:
    (path,) = (packed / "evaluation").iterdir()
    older = pq.read_table(path).drop_columns(["shown_age_hours", "new_user", "also_seen_as"])
    stream = io.BytesIO()
    pq.write_table(older, stream)
    put(packed, f"evaluation/{path.name}", stream.getvalue())
    assert PackedDirectory.open(packed).evaluation().num_rows == 23


@pytest.mark.parametrize("name", ["tokens/canonical_row_V.npy", "evaluation/part-0.parquet", "batches/part-0.parquet"])
def test_a_job_ends_with_2_and_one_line(packed: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    put(packed, name, b"PAR1 nothing")
    assert run(inspect_batches, ["--data", str(packed)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert name in said
    assert "Pack again" in said


def test_an_item_that_no_slot_uses_is_named_when_all_is_inspected(packed: Path) -> None:
    name = "batches/part-0.parquet"
    table = pq.read_table(packed / name)
    cells = table["target_mask_BLK"].to_pylist()
    mask = np.load(io.BytesIO(cells[0]))
    mask[:, :, 1:] = False  # no negatives are left
    place = table.column_names.index("target_mask_BLK")
    changed = table.set_column(place, "target_mask_BLK", [[encoded(mask), *cells[1:]]])
    stream = io.BytesIO()
    pq.write_table(changed, stream, row_group_size=3)
    put(packed, name, stream.getvalue())
    with pytest.raises(ContractError, match=r"part-0.parquet.* of its items are used by no slot"):
        describe(PackedDirectory.open(packed))
