"""Raw logs -> impressions, histories and rejects: adds what is new in a folder of logs to the lake."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from jobs.cli.command_line import run
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.ingest.config import IngestConfig
from pipelines.ingest.discover.find import check_all_used, discover
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.mapping_file import read_mapping
from pipelines.ingest.read.privacy import given_user_key
from pipelines.ingest.replay.batches import replayed_bytes
from pipelines.ingest.replay.flow import replay_logs
from pipelines.ingest.stream import Add, GrowingFolder, ingest_stream
from pipelines.lake.opening import checked_source, open_lake
from pipelines.session import plain_errors
from schemas.storage.paths import path_of
from schemas.storage.place import Place


def ingest(
    *,
    lake: Place,
    logs: Place | None = None,
    source: str = "publisher",
    format: Literal["auto", "jsonl", "mind", "ebnerd"] = "auto",
    mapping: Place | None = None,
    user_key_file: Place | None = None,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    config: IngestConfig = IngestConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Add impression logs to the lake. Running it again, or after a kill, gives the same tables.

    Parameters
    ----------
    lake
        The folder of the Delta tables; made if it is missing.
    logs
        Folder of logs/*.jsonl, behaviors*.tsv (MIND), compressed (.gz, .zst, .bz2, .lz4, .xz) or not, or
        behaviors.parquet (EB-NeRD), one such file, or the mapping's.
    source
        The publisher or collector that wrote the logs; ids of different sources never meet.
    format
        What the logs are; auto looks at what the folder holds.
    mapping
        TOML file that says where other JSON lines, Parquet or a Delta table hold our fields; see jobs/presets/logs.
    user_key_file
        File with the key under which user ids are replaced by their HMAC-SHA256; or FEEDLOOP_USER_KEY holds it.
    """
    told, source = read_mapping(mapping) if mapping else None, checked_source(source)
    logs = config.new_logs(logs)
    if logs is None:
        with plain_errors():
            size = 0 if lake.schema else replayed_bytes(str(lake), source)
            tables = open_lake(session_for("feedloop ingest", engine, new_bytes=size), lake)
            return replay_logs(tables, config, source=source, mapping=told)
    key = given_user_key(user_key_file, os.environ.get("FEEDLOOP_USER_KEY"))
    ways: dict[str, Any] = {"final": config.final, "since": config.since}
    new = None if config.stream_files else discover(str(logs), format, told, **ways)
    with plain_errors():
        tables = open_lake(session_for("feedloop ingest", engine, new_bytes=new.bytes if new else 0), lake, logs)
        how: dict[str, Any] = {"source": source, "arrived_at": datetime.now(UTC), "user_key": key}
        how |= {name: getattr(config, name) for name in ("max_batch_bytes", "max_reject_share", "earliest")}
        add: Add = partial(ingest_logs, tables, **how)
        if new is not None:
            return check_all_used(str(logs), dict(add(partial(new.find, tables.spark))) | dict(new.left_out))
        files = GrowingFolder(path_of(logs), format, told, **ways)
        return check_all_used(
            str(logs), ingest_stream(tables, files, add, source=source, max_files=config.stream_files)
        )


if __name__ == "__main__":
    raise SystemExit(run(ingest))
