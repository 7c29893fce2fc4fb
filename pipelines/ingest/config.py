"""IngestConfig: how ingest reads files into batches, when it refuses a batch, and the options of a replay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pipelines.ingest.discover.listing import Since
from pipelines.ingest.parse.lines import EARLIEST
from schemas.errors import InputError
from schemas.storage.place import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """How files are read into batches, or how stored lines are replayed."""

    final: bool = False  # the files are complete: a last line counts even without a line end
    max_reject_share: float = 0.5  # commit no batch with a larger share of refused lines, in a run of more than 20
    logs_since: str | None = None  # path below --logs, as dt=2026-11-27: what sorts before it is never listed
    stream_files: int = 0  # for a growing folder: this many new files at a time, then the files that have grown
    max_batch_bytes: int = 1 << 30  # text that one batch reads, approximately; no file is in two batches
    earliest: date = EARLIEST  # a time before this date is refused as impossible
    replay: bool = False  # read no logs: parse the source's lines in raw_log again, by today's rules and --mapping
    from_: date | None = None  # with --replay --mapping: the first UTC date of arrival that the mapping reads

    def __post_init__(self) -> None:
        if not 0 <= self.max_reject_share <= 1:
            raise InputError(f"max_reject_share is {self.max_reject_share:g}: give a share from 0 to 1")
        if self.stream_files < 0:
            raise InputError(f"stream_files is {self.stream_files}: give a number of files, or 0 for no stream")
        if self.since is not None and self.replay:
            raise InputError("logs_since selects new logs, and --replay reads none: drop one of them")
        if self.from_ is not None and not self.replay:
            raise InputError(
                "from selects the arrivals that a replay reads by another mapping: add --replay, or drop it"
            )

    @property
    def since(self) -> Since | None:
        """`logs_since`, parsed."""
        return None if self.logs_since is None else Since(self.logs_since)

    def new_logs(self, logs: Place | None) -> Place | None:
        """The logs to read; None for a replay. InputError if both or neither are given."""
        if self.replay == (logs is not None):
            raise InputError("--logs adds new logs, --replay reads the lines in the lake again: give one of them")
        return logs
