"""What a commit changed and what its writer noted in it: how a stage tells later what it has done, after a kill too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from pipelines.delta.log import history, opened
from schemas.errors import ContractError
from schemas.strict_json import Count, converted, json_value

_COUNTED = (  # by which metrics an operation counts the rows that it inserted, updated and deleted
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
    """One version of a table: what its writer noted, and the rows it changed."""

    version: int
    note: dict[str, Any] | None
    changes: Changes
    app: tuple[str | None, int | None] = (None, None)  # app_id and app_version of the write, where it had them


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommitInfo:
    """Our user metadata of a commit."""

    note: dict[str, Any] | None = None
    app_id: str | None = None
    app_version: int | None = None
    changes: tuple[Count, Count, Count] | None = None


def latest_commits(path: str, limit: int) -> Iterator[Commit]:
    """The latest commits, newest first, at most so many and as far back as Delta's log still tells of them."""
    for info in history(path, limit=limit)[:limit]:
        told = _told(info.get("userMetadata"))
        app = (told.get("app_id"), told.get("app_version"))
        counted = told.get("changes")
        changes = _changes(info.get("operationMetrics", {})) if counted is None else Changes(*counted)
        yield Commit(info["version"], told.get("note"), changes, app)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a write leaves in its commit: the pair that makes its replay a no-op, and the writer's note."""

    app_id: str | None = None
    app_version: int | None = None
    note: Mapping[str, Any] | None = None

    def user_metadata(self, changes: Changes | None = None) -> str | None:
        """What a commit holds of it as text; `changes`, where the operation itself does not count them."""
        told: dict[str, Any] = {} if self.note is None else {"note": dict(self.note)}
        if self.app_id is not None:
            told |= {"app_id": self.app_id, "app_version": self.app_version}
        if changes is not None:
            told |= {"changes": astuple(changes)}
        return json.dumps(told, sort_keys=True) if told else None


def is_replay(path: str, mark: Mark) -> bool:
    """Whether the mark's app has written with its version, or a higher one: the log says so, and no engine is asked."""
    if mark.app_id is None or mark.app_version is None:
        return False
    last = opened(path).transaction_version(mark.app_id)
    return last is not None and last >= mark.app_version


def _told(text: str | None) -> dict[str, Any]:
    """Our own user metadata; that of others tells us nothing."""
    try:
        raw = json_value(text or "{}", "userMetadata")
        converted(raw, _CommitInfo, "userMetadata")
    except ContractError:
        return {}
    return dict(raw)


def _changes(metrics: Mapping[str, str | int]) -> Changes:
    names = next((names for names in _COUNTED if names[0] in metrics), _COUNTED[-1])
    return Changes(*(int(metrics.get(name, 0)) for name in names))
