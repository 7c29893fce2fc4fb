"""IngestConfig: what decides how a folder's files are read, and when a batch of them is not committed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipelines.ingest.parse import EARLIEST
from schemas.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """How files are read into batches."""

    final: bool = False  # the files are complete: a last line counts even where no line end stands behind it
    max_reject_share: float = 0.5  # commit no batch with a larger share of refused lines, in a run of more than 20
    stream_files: int = 0  # for a folder that keeps growing: so many new files at a time, then what has grown
    max_batch_bytes: int = 1 << 30  # text that one batch reads, about; no file is in two batches
    earliest: date = EARLIEST  # a time before this date is refused as impossible

    def __post_init__(self) -> None:
        if not 0 <= self.max_reject_share <= 1:
            raise InputError(f"max_reject_share is {self.max_reject_share:g}: give a share from 0 to 1")
        if self.stream_files < 0:
            raise InputError(f"stream_files is {self.stream_files}: give a number of files, or 0 for no stream")
