"""A lake of its own for each test that asks for one, at a path as awkward as users' are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipelines.engine.scratch import Keep
    from pipelines.lake.tables import Lake


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Computes a frame once; gone after the test."""
    from pipelines.engine.scratch import scratch

    with scratch() as kept:
        yield kept


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    from pipelines.lake.tables import Lake

    return Lake(spark, str(tmp_path / "away" / ".." / "my lake (1)+é"))
