from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.build_trajectories import build_trajectories
from jobs.config import run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no table impressions there. Make it with ./feedloop ingest"),
        (["--candidates", "1"], "candidates is 1: use 2 or more"),
        (["--window", "101"], "window is 101: use 1 to 100 clicks"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_exit_code_2(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(build_trajectories, ["--lake", str(tmp_path / "lake"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()
