from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.publisher.sample import write_sample


@dataclass(frozen=True)
class Sample:
    """A written sample, read back with nothing of the publisher's."""

    folder: Path
    news: list[dict[str, str]]
    files: dict[str, list[bytes]]  # lines by file name, in file order
    truth: list[dict[str, Any]]
    counts: dict[str, Any]

    @property
    def lines(self) -> list[bytes]:
        return [line for lines in self.files.values() for line in lines]


def read_sample(folder: Path) -> Sample:
    files = {}
    for path in sorted((folder / "logs").iterdir()):
        text = path.read_bytes()
        files[path.name] = (gzip.decompress(text) if path.suffix == ".gz" else text).splitlines()
    return Sample(
        folder=folder,
        news=[json.loads(line) for line in (folder / "news.jsonl").read_text(encoding="utf-8").splitlines()],
        files=files,
        truth=pq.read_table(folder / "truth/impressions.parquet").to_pylist(),
        counts=json.loads((folder / "truth/counts.json").read_text(encoding="utf-8")),
    )


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("tiny")
    write_sample(folder, "tiny", 7)
    return read_sample(folder)


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("demo")
    write_sample(folder, "demo", 1)
    return read_sample(folder)
