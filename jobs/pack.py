"""Trajectories of the lake -> an immutable directory of packed batches that the trainer reads."""

from __future__ import annotations

from typing import Any

from jobs.cli.command_line import run
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.lake.opening import open_lake
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack as pack_lake
from pipelines.session import plain_errors
from schemas.storage.place import Place


def pack(
    *,
    lake: Place,
    out: Place,
    as_of: str | None = None,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    config: PackingConfig = PackingConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Pack trajectories into batches that hold each news once, grouped so that neighbours share news.

    Parameters
    ----------
    lake
        Folder of the Delta tables.
    out
        The directory to make, local or remote. It is complete or absent, and never changes; packing the same again
        leaves it unchanged.
    as_of
        Pack the tables as they were: a versions file that a job wrote below _versions/ of the lake, or a UTC time.
    engine
        What runs the job: this process alone, or Apache Spark.
    config
        What decides the batches.
    """
    with plain_errors():
        tables = open_lake(session_for("feedloop pack", engine), lake)
        read = tables if as_of is None else tables.as_of(tables.versions_from(as_of))
        manifest = pack_lake(read, out, config)
        versions = tables.report("pack", inputs=manifest.inputs, outputs={})
    return {"out": str(out), "tokens_rows": manifest.tokens.rows, **manifest.counts, **versions}


if __name__ == "__main__":
    raise SystemExit(run(pack))
