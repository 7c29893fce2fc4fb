from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.synthetic.sample import write_sample
from jobs.synthetic.sizes import SIZES, SizeName


@dataclass(frozen=True)
class Sample:
    """A written sample, read back without the publisher's code."""

    folder: Path
    news: list[dict[str, str]]
    files: dict[str, list[bytes]]  # lines by file name, in file order; \n, \r\n or \r ended them
    truth: list[dict[str, Any]]
    counts: dict[str, Any]

    @property
    def lines(self) -> list[bytes]:
        return [line for lines in self.files.values() for line in lines]


def written(folder: Path, size: SizeName, seed: int) -> Sample:
    folder.mkdir(exist_ok=True)
    write_sample(folder, SIZES[size], seed, name=size)
    return read_sample(folder)


def read_sample(folder: Path) -> Sample:
    files = {}
    for path in sorted((folder / "logs").iterdir()):
        text = path.read_bytes()
        content = gzip.decompress(text) if path.suffix == ".gz" else text
        assert not content or content.endswith(b"\n")
        files[path.name] = content.splitlines()
    return Sample(
        folder=folder,
        news=[json.loads(line) for line in (folder / "news.jsonl").read_text(encoding="utf-8").splitlines()],
        files=files,
        truth=pq.read_table(folder / "truth/impressions.parquet").to_pylist(),
        counts=json.loads((folder / "truth/counts.json").read_text(encoding="utf-8")),
    )


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return written(tmp_path_factory.mktemp("tiny"), "tiny", 7)


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return written(tmp_path_factory.mktemp("demo"), "demo", 1)
