"""Two engines that know nothing of each other make the same tables of the same lines, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from pipelines.session import is_embedded
from tests.conftest import REPOSITORY
from tests.pipelines.ingest.both_engines import made_of, usable_line

# Where the tests run on the embedded engine, the other one starts a JVM.
_DEAR = () if os.environ.get("FEEDLOOP_TEST_ENGINE") == "spark" else (pytest.mark.slow,)


@pytest.mark.parametrize("seen", [pytest.param("drawn lines", marks=_DEAR)])
@settings(
    max_examples=1,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(logs=st.lists(st.lists(usable_line(), min_size=20, max_size=60), min_size=3, max_size=3))
def test_both_engines_make_the_same_tables(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, seen: str, logs: list[list[list[object]]]
) -> None:
    """The other engine works in a process of its own: two kinds of session are not meant to share one."""
    folder = tmp_path_factory.mktemp("both")
    drawn, out = folder / "drawn.json", folder / "out.json"
    drawn.write_text(json.dumps(logs))
    other = "spark" if is_embedded(spark) else "embedded"
    command = [sys.executable, "-m", "tests.pipelines.ingest.both_engines", other, str(drawn), str(out)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for lines, theirs in zip(logs, json.loads(Path(out).read_text()), strict=True):
        ours = made_of(spark, lines)
        for name, rows in theirs.items():
            assert ours[name] == rows, f"{seen}: table {name}"
