"""IngestConfig: how files are read into batches, when one is not committed, whether a replay is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipelines.ingest.discover.listing import Since
from pipelines.ingest.parse.lines import EARLIEST
from schemas.errors import InputError
from schemas.storage.place import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """How files are read into batches, or lines read again."""

    final: bool = False  # the files are complete: a last line counts even where no line end stands behind it
    max_reject_share: float = 0.5  # commit no batch with a larger share of refused lines, in a run of more than 20
    logs_since: str | None = None  # path below --logs, as dt=2026-11-27: what sorts before it is never looked at
    stream_files: int = 0  # for a folder that keeps growing: so many new files at a time, then what has grown
    max_batch_bytes: int = 1 << 30  # text that one batch reads, about; no file is in two batches
    earliest: date = EARLIEST  # a time before this date is refused as impossible
    replay: bool = False  # read no logs: rebuild what the source's lines in raw_log say, by today's rules and --mapping
    from_: date | None = None  # with --replay --mapping: the first UTC date of arrival that the mapping reads

    def __post_init__(self) -> None:
        if not 0 <= self.max_reject_share <= 1:
            raise InputError(f"max_reject_share is {self.max_reject_share:g}: give a share from 0 to 1")
        if self.stream_files < 0:
            raise InputError(f"stream_files is {self.stream_files}: give a number of files, or 0 for no stream")
        if self.since is not None and self.replay:
            raise InputError("logs_since says which new logs are looked at, and --replay reads none: drop one of them")
        if self.from_ is not None and not self.replay:
            raise InputError("from says which arrivals a replay reads by another mapping: add --replay, or drop it")

    @property
    def since(self) -> Since | None:
        """`logs_since` as names of folders."""
        return None if self.logs_since is None else Since(self.logs_since)

    def new_logs(self, logs: Place | None) -> Place | None:
        """The logs that are to be read; None for a replay. InputError where both are asked for, or neither."""
        if self.replay == (logs is not None):
            raise InputError("--logs names new logs to add, --replay reads those that the lake holds: give one of them")
        return logs
