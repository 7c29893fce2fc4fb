"""Makes the archives of this folder, by the jobs as they are now: `python -m tests.data.stored.make OUT`.

OUT gets lake.tar.xz, packed-N.tar.xz and checkpoint-N.tar.xz, N being the format that the jobs write. The data are
synthetic (publisher.py) and always the same; names of files, times of commits and so the archives' bytes are not.
Archives of a format are made once and kept: they are what code of that time wrote; checkpoint-4 and -5 belong to
packed-3. They name no place of a machine: every job runs in the folder with relative paths, and files on the machine
(about.json, pages, curves) are left out.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

import faiss

from jobs.build_trajectories import build_trajectories
from jobs.cli.command_line import Job, run
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.forget import forget
from jobs.ingest import ingest
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from jobs.train import train
from tests.data.stored.publisher import DAYS, FORGOTTEN, write_publisher

WRITTEN_AT = 1772409600  # 2026-03-02: the time of every file in an archive
STOPPED_AT, SAVE_EVERY = 18, 5  # steps; in the middle of an epoch
LAKE = ("--lake", "lake")
DATA = ("--data", "packed", "--device", "cpu")
MODEL = (
    *("--encoder.plm", "plm", "--encoder.frozen-layers", "1", "--encoder.vector-width", "16"),
    *("--encoder.pooling-width", "16", "--user.attention-width", "16", "--planner.warm-up-steps", "5"),
    *("--run.epochs", "3", "--run.log-every-steps", "1", "--run.save-every-steps", str(SAVE_EVERY)),
    *("--optimiser.encoder-learning-rate", "1e-3", "--optimiser.learning-rate", "1e-2"),
    *("--run.drift-every-steps", "0", "--run.keep-checkpoints", "100", "--run.no-tensorboard"),
)


def summary_of(job: Job, *options: object) -> dict[str, Any]:
    """The summary of a job that ends well."""
    with redirect_stdout(io.StringIO()) as said:
        code = run(job, [str(option) for option in options])
    assert code == 0, f"{job.__name__} ended with {code}"
    return dict(json.loads(said.getvalue().splitlines()[-1]))


def make(out: Path) -> list[Path]:
    """The three archives in `out`."""
    with tempfile.TemporaryDirectory() as base, chdir(base):
        _lake()
        summary_of(pack, *LAKE, "--out", "packed", "--batch-trajectories", 1, "--superblock-batches", 3)
        recorded = _checkpoint()
        Path("recorded.json").write_text(json.dumps(recorded, indent=1) + "\n")
        packed = json.loads(Path("packed", "manifest.json").read_text())["format_version"]
        saved = json.loads(next(Path("run", "checkpoint").glob("*/state.json")).read_text())["format_version"]
        return [
            archive(out / "lake.tar.xz", ("lake", "publisher", "later")),
            archive(out / f"packed-{packed}.tar.xz", ("packed", "plm")),
            archive(out / f"checkpoint-{saved}.tar.xz", ("run", "recorded.json")),
        ]


def _lake() -> None:
    """Every table of a lake: logs day by day, a user forgotten after the first."""
    write_publisher(Path())
    Path("arrived", "logs").mkdir(parents=True)
    for day in DAYS[:-1]:
        shutil.copy(f"publisher/logs/{day}.jsonl", "arrived/logs")
        summary_of(ingest, *LAKE, "--logs", "arrived")
        if day == DAYS[0]:
            Path("forgotten").write_text(f"{FORGOTTEN}\n")
            summary_of(forget, *LAKE, "--user-file", "forgotten")
    text = ("--fields", "title", "--fields", "body", "--tokens-per-segment", 12)
    summary_of(prepare_news, *LAKE, "--news", "publisher", *text, "--near-duplicates", 0.7)
    summary_of(build_trajectories, *LAKE, "--window", 6)


def _checkpoint() -> dict[str, Any]:
    """run/ as a kill after STOPPED_AT steps leaves it, and the figures of what follows from its checkpoint."""
    summary_of(train, *DATA, "--out", "complete", *MODEL)
    lines = [json.loads(line) for line in Path("complete", "metrics.jsonl").read_text().splitlines()]
    name = f"step-{STOPPED_AT:08d}"
    shutil.copytree(f"complete/checkpoint/{name}", f"run/checkpoint/{name}")
    shutil.copy("complete/config.json", "run")
    with Path("run", "metrics.jsonl").open("w") as stream:
        stream.writelines(f"{json.dumps(line)}\n" for line in lines if line["step"] <= STOPPED_AT)
    evaluated = summary_of(evaluate, *DATA, "--checkpoint", "run/checkpoint", "--out", "evaluation.json")
    summary_of(export_embeddings, *DATA, *LAKE, "--checkpoint", "run/checkpoint", "--out", "export")
    return {
        "loss": {str(line["step"]): line["loss"] for line in lines},
        "auc": evaluated["methods"]["model"]["auc"],
        "vectors": exported(Path("export")),
    }


def exported(export: Path) -> list[list[float]]:
    """The vectors of the first items in an export's index."""
    index = faiss.read_index(str(export / "index.faiss"))
    return [index.reconstruct(row).tolist() for row in (1, 2, 3)]


def archive(file: Path, names: Sequence[str]) -> Path:
    """These files and folders, without hidden checksum files and whatever names their maker, in a .tar.xz."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = WRITTEN_AT
        return None if entry.name.endswith(".crc") else entry

    with tarfile.open(file, "w:xz", preset=9) as tar:
        for name in names:
            tar.add(name, filter=plain)
    return file


if __name__ == "__main__":
    os.environ["FEEDLOOP_ENGINE"] = "embedded"
    make(Path(sys.argv[1]).resolve())
