"""What a commit changed and what its writer noted in it: how a stage tells later what it has done, after a kill too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta_log import commit_info, snapshot
from pipelines.session import with_settings
from schemas.errors import ContractError
from schemas.strict_json import converted, json_value

_SETTINGS = {
    "txnAppId": "spark.databricks.delta.write.txnAppId",
    "txnVersion": "spark.databricks.delta.write.txnVersion",
    "userMetadata": "spark.databricks.delta.commitInfo.userMetadata",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that one commit inserted, updated and deleted, as Delta counted them."""

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
class _Told:
    """Our user metadata of a commit."""

    note: dict[str, Any] | None = None
    app_id: str | None = None
    app_version: int | None = None


def commits_after(spark: SparkSession, path: str, after: int) -> Iterator[Commit]:
    """The commits after version `after`, newest first, as far back as Delta's log still tells of them."""
    for version in range(snapshot(spark, path).version, after, -1):
        info = commit_info(spark, path, version)
        if info is None:
            return
        told = _told(info.get("userMetadata"))
        app = (told.get("app_id"), told.get("app_version"))
        yield Commit(version, told.get("note"), _changes(info.get("operationMetrics", {})), app)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a write leaves in its commit: the pair that makes its replay a no-op, and the writer's note."""

    app_id: str | None = None
    app_version: int | None = None
    note: Mapping[str, Any] | None = None

    @property
    def options(self) -> dict[str, str]:
        """The options of a DataFrame's writer."""
        told: dict[str, Any] = {} if self.note is None else {"note": dict(self.note)}
        pair: dict[str, str] = {}
        if self.app_id is not None:
            told |= {"app_id": self.app_id, "app_version": self.app_version}
            pair = {"txnAppId": self.app_id, "txnVersion": str(self.app_version)}
        return pair | ({"userMetadata": json.dumps(told, sort_keys=True)} if told else {})


@contextmanager
def marked(spark: SparkSession, mark: Mark) -> Iterator[None]:
    """Inside, a MERGE, which takes no options, leaves the mark in its commit."""
    with with_settings(spark, {_SETTINGS[name]: value for name, value in mark.options.items()}):
        yield


def merged_changes(merged: DataFrame) -> Changes:
    """The changes that a MERGE returned; none where it was a replay."""
    row = merged.first()
    return (
        Changes() if row is None else Changes(*(row[f"num_{kind}_rows"] for kind in ("inserted", "updated", "deleted")))
    )


def _told(text: str | None) -> dict[str, Any]:
    """Our own user metadata; that of others tells us nothing."""
    try:
        raw = json_value(text or "{}", "userMetadata")
        converted(raw, _Told, "userMetadata")
    except ContractError:
        return {}
    return dict(raw)


def _changes(metrics: Mapping[str, str]) -> Changes:
    if "numTargetRowsInserted" in metrics:
        names = ("numTargetRowsInserted", "numTargetRowsUpdated", "numTargetRowsDeleted")
    else:
        names = ("numOutputRows", "numUpdatedRows", "numDeletedRows")
    return Changes(*(int(metrics.get(name, 0)) for name in names))
