"""A disk that fills up under Spark: one message that names it; the same command completes once there is space."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.cli.command_line import run
from jobs.ingest import ingest
from tests.builders import json_line, write_logs
from tests.disks import small_disk


@pytest.mark.slow
def test_ingest_into_a_full_disk_names_it_and_goes_on_when_there_is_room(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = write_logs(tmp_path / "logs", {"a.jsonl": [json_line(f"i{n}", user_id=f"u{n}") for n in range(200)]})
    options = ["--logs", str(logs), "--lake", ""]
    with small_disk(tmp_path / "disk", "100k") as disk:
        options[-1] = str(disk / "lake")
        assert run(ingest, options) == 2
        printed, reported = capsys.readouterr()
        assert printed == ""
        assert reported.startswith(f"feedloop ingest: {disk}/lake: no space left there: ")
        assert "are free. Make room, then run the same command again" in reported
        assert reported.count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert run(ingest, options) == 0
        summary = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert [summary[name] for name in ("lines", "impressions", "merged", "rejected")] == [200, 200, 0, 0]
