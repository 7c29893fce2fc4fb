"""--verify of each job that reads a packed directory: what it leaves for later, and what `full` finds first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.cli.command_line import Job, run
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.inspect_batches import inspect_batches
from jobs.train import train
from tests.packed import packed_directory, tiny_plm

UNREAD = "batches/_common_metadata"  # only Petastorm's reader reads it


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one changed byte, and a model trained on it."""
    folder = tmp_path_factory.mktemp("verify")
    packed_directory(folder / "packed", config={"source": "p"})
    content = bytearray((folder / "packed" / UNREAD).read_bytes())
    content[100] ^= 1
    (folder / "packed" / UNREAD).write_bytes(content)
    tiny_plm(folder / "plm")
    words = ["--data", folder / "packed", "--out", folder / "run", *model(folder), "--run.epochs", 1]
    assert run(train, [str(word) for word in words]) == 0
    return folder


def model(made: Path) -> list[object]:
    sizes = ["--encoder.frozen-layers", 1, "--encoder.vector-width", 16, "--encoder.pooling-width", 16]
    return ["--encoder.plm", made / "plm", *sizes, "--user.attention-width", 16, "--run.reader", "arrow"]


JOBS: dict[str, tuple[Job, Callable[[Path], list[object]]]] = {
    "train": (train, lambda made: ["--dry-run", "--out", made / "new", *model(made)]),
    "evaluate": (evaluate, lambda made: ["--checkpoint", made / "run" / "checkpoint"]),
    "export_embeddings": (
        export_embeddings,
        lambda made: ["--checkpoint", made / "run" / "checkpoint", "--out", made / "export"],
    ),
    "inspect_batches": (inspect_batches, lambda made: ["--plot", made / "plot.png"]),
}


def code_of(made: Path, name: str, *more: str) -> int:
    job, options = JOBS[name]
    words = ["--data", made / "packed", *options(made), *more]
    return run(job, [str(word) for word in words])


@pytest.mark.parametrize("name", JOBS)
def test_full_finds_a_changed_byte_that_the_job_would_not_read(
    made: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(made, name, "--verify", "sizes") == 0
    assert code_of(made, name, "--verify", "sample") == 0
    capsys.readouterr()
    assert code_of(made, name, "--verify", "full") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"feedloop {name}: {made / 'packed' / UNREAD}: sha256 ")
    assert message.endswith("Pack again with jobs.pack")


@pytest.mark.parametrize("name", JOBS)
def test_only_inspection_verifies_everything_by_default(made: Path, name: str) -> None:
    assert code_of(made, name) == (2 if name == "inspect_batches" else 0)


def test_another_word_is_refused_with_the_three(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(made, "train", "--verify", "all") == 2
    message = capsys.readouterr().err
    assert all(word in message for word in ("sizes", "sample", "full"))
