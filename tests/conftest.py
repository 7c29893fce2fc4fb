"""What every test may ask for: one SparkSession per run, the place of the shared data, fixed seeds."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from tests.object_store import new_bucket, s3_server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"  # data and tools next to the project; the only place that knows where
SEED = 20260302

settings.register_profile("feedloop", deadline=None)  # a first call may compile, and no test is timed
settings.load_profile("feedloop")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data next to the project; a test that asks for it skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data: {os.path.relpath(folder, REPOSITORY)} is absent next to this clone")
    return folder


@pytest.fixture(scope="session")
def _object_store() -> Iterator[None]:
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def bucket(_object_store: None) -> str:
    """A new bucket of a real S3 server, as s3://NAME; the environment of this process leads to it."""
    return new_bucket()


@pytest.fixture(scope="session")
def name_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real HDFS on this machine, as hdfs://HOST:PORT; for tests marked slow: it is a JVM of its own."""
    pytest.importorskip("hdfs_native", reason="HDFS wants the package hdfs-native (pyproject.toml: extra hdfs)")
    from tests.hdfs_cluster import hdfs_cluster

    with hdfs_cluster(tmp_path_factory.mktemp("hdfs")) as url:
        yield url


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    torch = sys.modules.get("torch")  # a Spark test has no torch, and need not load it
    if torch is not None:
        torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def worker_environment() -> Iterator[None]:
    """What Spark's Python workers inherit: this interpreter, and the repository on their path."""
    before = {name: os.environ.get(name) for name in ("PYSPARK_PYTHON", "PYTHONPATH", "TOKENIZERS_PARALLELISM")}
    paths = [str(REPOSITORY), *filter(None, [before["PYTHONPATH"]])]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def spark(worker_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One session for the entire run, of the engine that FEEDLOOP_TEST_ENGINE names: embedded or spark."""
    os.environ["FEEDLOOP_ENGINE"] = os.environ.get("FEEDLOOP_TEST_ENGINE", "embedded")  # of the jobs that tests start
    if os.environ["FEEDLOOP_ENGINE"] == "embedded":
        from pipelines.engine.embedded import embedded_session

        yield embedded_session()
        return
    from pipelines.engine.local_spark import build_session

    os.environ.setdefault("SPARK_LOCAL_DIRS", str(tmp_path_factory.mktemp("spark")))
    with pytest.MonkeyPatch.context() as patch:  # of this JVM alone: the jobs that tests start are short
        patch.setenv("FEEDLOOP_JVM", os.environ.get("FEEDLOOP_JVM", "long"))
        session = build_session("feedloop tests")
    yield session
    session.stop()
