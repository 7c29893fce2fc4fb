from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.command_line import run
from jobs.inspect_batches import inspect_batches
from pipelines.packing.write import existing_manifest
from schemas.errors import InputError
from schemas.manifest import MANIFEST_FILE
from tests.damage import HANG, ODD_FILES, changed, damaged_texts, in_place_of, refusal, wrong_values
from tests.packed import packed_directory
from trainer.data.directory import PackedDirectory

pytestmark = pytest.mark.timeout(HANG)
ADVICE = r"Pack again with jobs\.pack"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_directory(tmp_path_factory.mktemp("manifest") / "packed", config={"source": "p"})


@pytest.fixture
def manifest(packed: Path) -> Iterator[Path]:
    file = packed / MANIFEST_FILE
    intact = file.read_bytes()
    yield file
    file.write_bytes(intact)


def _file(raw: Any, part: str) -> Any:
    return next(entry for entry in raw["files"] if part in entry["path"])


def _block(raw: Any) -> Any:
    return _file(raw, "part-0.parquet")["superblocks"][0]


Damage = Callable[[Any], Any]

OWN: dict[str, tuple[Damage, str]] = {
    "rows of 10^12": (lambda raw: raw["tokens"].update(rows=10**12), r"\$\.tokens\.rows: Expected .* found 10{12}"),
    "rows of 2 billion": (lambda raw: raw["tokens"].update(rows=2 * 10**9), "which is not the table of 2000000000"),
    "rows of -1": (lambda raw: raw["tokens"].update(rows=-1), "found -1"),
    "rows of a file in no bytes": (
        lambda raw: (
            [raw["tokens"].update(rows=10**9)]
            and [
                _file(raw, f"tokens/{name}").update(rows=10**9 + more)
                for name, more in (("segment_start", 1), ("canonical", 0), ("tokens_version", 0))
            ]
            and raw
        ),
        "rows in .* bytes",
    ),
    "more tokens than V*S*T": (lambda raw: raw["tokens"].update(tokens_per_segment=1), "not the table of 31 items"),
    "more segments than V*S": (lambda raw: _file(raw, "segment_field").update(rows=99), "segment_field_S.npy has 99"),
    "a pad beyond the vocabulary": (lambda raw: raw["tokens"].update(pad_id=200), "beyond a vocabulary of 200"),
    "no field": (lambda raw: raw["tokens"].update(fields=[]), "one or more of title"),
    "an unknown field": (lambda raw: raw["tokens"].update(fields=["colour"]), "one or more of title"),
    "a count below 0": (lambda raw: raw["counts"].update(clicks=-1), "found|>= 0"),
    "a count that is a fraction": (lambda raw: raw["counts"].update(clicks=0.5), "got `float`"),
    "a count of targets of 0": (lambda raw: raw["counts"].update(targets=0), r"counts\.targets is 0"),
    "no target at all": (
        lambda raw: (
            [
                block.update(targets=[0] * len(block["targets"]))
                for entry in raw["files"]
                for block in entry["superblocks"]
            ]
            and raw["counts"].pop("targets")
            and raw
        ),
        "no batch has a target",
    ),
    "a file twice": (lambda raw: raw["files"].append(raw["files"][0]), "twice"),
    "two names of a file": (lambda raw: _file(raw, "part-0").update(path="batches/./part-0.parquet"), "matching regex"),
    "a path upwards": (lambda raw: _file(raw, "values").update(path="../tokens/token_values.npy"), "matching regex"),
    "an absolute path": (lambda raw: _file(raw, "values").update(path="/etc/passwd"), "matching regex"),
    "a path with a null": (lambda raw: _file(raw, "values").update(path="tokens/a\0b"), "matching regex"),
    "a path of a folder": (lambda raw: _file(raw, "values").update(path="tokens/"), "matching regex"),
    "a file that is not there": (lambda raw: _file(raw, "values").update(path="tokens/none.npy"), "lists no file of"),
    "a file of other bytes": (lambda raw: _file(raw, "values").update(bytes=10**15), "the manifest says 10{15}"),
    "no batch files": (
        lambda raw: raw.update(files=[entry for entry in raw["files"] if not entry["superblocks"]], counts={}),
        "lists no file of batches/",
    ),
    "no evaluation": (
        lambda raw: raw.update(files=[entry for entry in raw["files"] if "evaluation/" not in entry["path"]]),
        "lists no file of evaluation/",
    ),
    "no hash": (lambda raw: _file(raw, "values").update(sha256="x"), "matching regex"),
    "a variant of 10^12": (lambda raw: _block(raw).update(variant=10**12), "variant 10{12}, and 2 variants"),
    "variants of unequal size": (lambda raw: _block(raw).update(variant=1), "not equally many"),
    "a superblock of no batches": (
        lambda raw: _block(raw).update(batches=[], targets=[], weights=[], items=[]),
        "one or more consecutive numbers",
    ),
    "a superblock too few": (lambda raw: _file(raw, "part-0").update(superblocks=[_block(raw)]), "has 6 rows, and su"),
    "rows other than batches": (lambda raw: _file(raw, "part-0").update(rows=5), "has 5 rows, and superblocks of 6"),
    "fewer targets than batches": (lambda raw: _block(raw)["targets"].pop(), "another number of targets"),
    "a batch twice": (lambda raw: _block(raw).update(batches=[3, 4, 5]), "not 0, 1, 2"),
    "a weight that is infinite": (lambda raw: _block(raw)["weights"].append("Infinity"), "got `str`"),
    "a weight below 0": (lambda raw: _block(raw)["weights"].__setitem__(0, -1.0), "below 0"),
    "targets of 10^18": (lambda raw: _block(raw)["targets"].__setitem__(0, 10**18), "<= "),
    "another format version": (lambda raw: raw.update(format_version=10**6), "format version 1000000, this code reads"),
    "a version that is a list": (lambda raw: raw.update(format_version=[3]), "no format_version"),
    "a source that is a list": (lambda raw: raw["config"].update(source=["p"]), r"its config, at \$\.source"),
    "superblocks of 0 batches": (lambda raw: raw["config"].update(superblock_batches=0), "superblock_batches"),
    "an input that is a text": (lambda raw: raw["inputs"].update(item_tokens="3"), "got `str`"),
}


def refused(manifest: Path, text: bytes) -> str:
    manifest.write_bytes(text)
    message = refusal(lambda: PackedDirectory.open(manifest.parent), str(manifest.parent), ADVICE)
    with pytest.raises(InputError):  # so does pack, which would write there
        existing_manifest(manifest.parent)
    return message


@pytest.mark.parametrize("name", damaged_texts(b'{"format_version": 3, "files": []}'))
def test_a_text_that_is_no_manifest_raises_an_error(manifest: Path, name: str) -> None:
    assert str(manifest) in refused(manifest, damaged_texts(manifest.read_bytes())[name])


def test_missing_names_and_values_of_other_types_raise_an_error(manifest: Path) -> None:
    for text in wrong_values(manifest.read_bytes()).values():
        assert str(manifest) in refused(manifest, text)


@pytest.mark.parametrize("name", OWN)
def test_impossible_sizes_and_relations_raise_an_error_before_anything_is_allocated(manifest: Path, name: str) -> None:
    change, said = OWN[name]
    manifest.write_bytes(changed(manifest.read_bytes(), change))
    message = refusal(lambda: PackedDirectory.open(manifest.parent), str(manifest.parent), ADVICE)
    assert re.search(said, message), message


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", [MANIFEST_FILE, "tokens/token_values.npy", "batches/part-0.parquet"])
def test_only_regular_files_are_opened(manifest: Path, name: str, kind: str) -> None:
    file = manifest.parent / name
    with in_place_of(file, ODD_FILES[kind]):
        refusal(lambda: PackedDirectory.open(manifest.parent), str(file), ADVICE)


def test_a_link_to_a_file_elsewhere_raises_an_error(manifest: Path, tmp_path: Path) -> None:
    file = manifest.parent / "tokens/token_values.npy"
    (tmp_path / "copy").write_bytes(file.read_bytes())
    with in_place_of(file, lambda path: path.symlink_to(tmp_path / "copy")):
        assert "a symbolic link" in refusal(lambda: PackedDirectory.open(manifest.parent), str(file), ADVICE)


def test_a_job_ends_with_2_and_one_line(manifest: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest.write_bytes(changed(manifest.read_bytes(), OWN["a variant of 10^12"][0]))
    assert run(inspect_batches, ["--data", str(manifest.parent), "--plot", str(tmp_path / "plot.png")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"feedloop inspect_batches: {manifest}, at $: variant 10")
    assert printed.err.count("\n") == 1


def test_the_intact_manifest_still_opens(manifest: Path) -> None:
    assert PackedDirectory.open(manifest.parent).manifest == existing_manifest(manifest.parent)
    assert json.loads(manifest.read_bytes())["counts"]["targets"] > 0
