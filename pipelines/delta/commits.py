"""Reads what each commit changed and what its writer noted in it: by these notes a stage knows what it has done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from pipelines.delta.log import history, open_table
from schemas.errors import ContractError
from schemas.strict_json import Count, converted, json_value

_ROW_METRICS = (  # names of the metrics for inserted, updated and deleted rows, by operation
    ("numTargetRowsInserted", "numTargetRowsUpdated", "numTargetRowsDeleted"),  # Spark's MERGE
    ("num_added_rows", "num_updated_rows", "num_deleted_rows"),  # delta-rs
    ("numOutputRows", "numUpdatedRows", "numDeletedRows"),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that one commit inserted, updated and deleted, as its writer counted them."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table: its writer's note and the number of rows that it changed."""

    version: int
    note: dict[str, Any] | None
    changes: Changes
    app: tuple[str | None, int | None] = (None, None)  # app_id and app_version of the write, where it had them


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommitInfo:
    """The user metadata that feedloop writes into a commit."""

    note: dict[str, Any] | None = None
    app_id: str | None = None
    app_version: int | None = None
    changes: tuple[Count, Count, Count] | None = None


def latest_commits(path: str, limit: int) -> Iterator[Commit]:
    """The latest commits, newest first: at most `limit`, and only those that Delta's log still holds."""
    for info in history(path, limit=limit)[:limit]:
        metadata = _own_metadata(info.get("userMetadata"))
        app = (metadata.get("app_id"), metadata.get("app_version"))
        counted = metadata.get("changes")
        changes = _changes(info.get("operationMetrics", {})) if counted is None else Changes(*counted)
        yield Commit(info["version"], metadata.get("note"), changes, app)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a write stores in its commit: the pair that makes its replay a no-op, and the writer's note."""

    app_id: str | None = None
    app_version: int | None = None
    note: Mapping[str, Any] | None = None

    def user_metadata(self, changes: Changes | None = None) -> str | None:
        """The commit's user metadata as JSON. `changes`: given where the operation itself does not count them."""
        metadata: dict[str, Any] = {} if self.note is None else {"note": dict(self.note)}
        if self.app_id is not None:
            metadata |= {"app_id": self.app_id, "app_version": self.app_version}
        if changes is not None:
            metadata |= {"changes": astuple(changes)}
        return json.dumps(metadata, sort_keys=True) if metadata else None


def is_replay(path: str, mark: Mark) -> bool:
    """Whether the mark's app has written with this version or a higher one. Reads only the log, without an engine."""
    if mark.app_id is None or mark.app_version is None:
        return False
    last = open_table(path).transaction_version(mark.app_id)
    return last is not None and last >= mark.app_version


def _own_metadata(text: str | None) -> dict[str, Any]:
    """The user metadata that feedloop wrote; empty for a commit of another program."""
    try:
        raw = json_value(text or "{}", "userMetadata")
        converted(raw, _CommitInfo, "userMetadata")
    except ContractError:
        return {}
    return dict(raw)


def _changes(metrics: Mapping[str, str | int]) -> Changes:
    names = next((names for names in _ROW_METRICS if names[0] in metrics), _ROW_METRICS[-1])
    return Changes(*(int(metrics.get(name, 0)) for name in names))
