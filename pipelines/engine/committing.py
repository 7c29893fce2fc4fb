"""Commits files to a table by delta-rs, with the writer's mark and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction, RemoveAction

from pipelines.delta.commits import Changes, Mark


def commit_files(
    at: DeltaTable,
    actions: Sequence[AddAction | RemoveAction],
    mark: Mark,
    changes: Changes,
    *,
    retries: int | None = None,
) -> None:
    """Add and remove these files of the table in one commit. `retries`: how often to try again after another run has
    committed a change that does not touch these files; by default as delta-rs does.
    """
    added = sum(isinstance(action, AddAction) for action in actions)
    metrics = {
        "num_added_rows": changes.inserted,
        "num_updated_rows": changes.updated,
        "num_deleted_rows": changes.deleted,
        "num_added_files": added,
        "num_removed_files": len(actions) - added,
    }
    properties = commit_properties(mark, changes, retries=retries, metrics=metrics)
    parts = at.metadata().partition_columns
    at.create_write_transaction([*actions], "append", at.schema(), parts, commit_properties=properties)


def commit_properties(
    mark: Mark, changes: Changes | None, *, retries: int | None = None, metrics: Mapping[str, int] | None = None
) -> CommitProperties:
    """The mark, the counted changes, and metrics where delta-rs counts none, in the form of a delta-rs commit."""
    text = mark.user_metadata(changes)
    metadata: dict[str, Any] = {} if text is None else {"userMetadata": text}
    metadata |= {} if metrics is None else {"operationMetrics": dict(metrics)}
    app = [] if mark.app_id is None else [Transaction(mark.app_id, mark.app_version or 0)]
    return CommitProperties(
        custom_metadata=metadata or None,
        app_transactions=app or None,
        max_commit_retries=retries,
    )
