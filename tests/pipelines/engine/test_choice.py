"""Which engine a job takes, and what it says of options that cannot be."""

from __future__ import annotations

import pytest

from pipelines.engine.choice import LARGE_BYTES, EngineConfig, session_for
from schemas.errors import InputError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEEDLOOP_ENGINE", "PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "FEEDLOOP_MASTER"):
        monkeypatch.delenv(name, raising=False)


def test_one_machine_is_enough_for_what_is_not_large() -> None:
    assert EngineConfig().choose() == EngineConfig().choose(new_bytes=LARGE_BYTES - 1) == "embedded"
    assert EngineConfig().choose(new_bytes=LARGE_BYTES) == "spark"
    assert EngineConfig(engine="embedded").choose(new_bytes=LARGE_BYTES) == "embedded"


@pytest.mark.parametrize("name", ["PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "FEEDLOOP_MASTER"])
def test_who_starts_spark_gets_spark(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    assert EngineConfig().choose() == "spark"
    assert EngineConfig(engine="embedded").choose() == "embedded"


def test_a_variable_decides_where_the_option_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDLOOP_ENGINE", "spark")
    assert (EngineConfig().choose(), EngineConfig(engine="embedded").choose()) == ("spark", "embedded")
    monkeypatch.setenv("FEEDLOOP_ENGINE", "flink")
    with pytest.raises(InputError, match="FEEDLOOP_ENGINE is 'flink': use auto, embedded or spark"):
        EngineConfig().choose()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "flink"}, "engine is 'flink': use auto, embedded or spark"),
        ({"remote": "spark://host:7077"}, "remote is 'spark://host:7077': name a Spark Connect server"),
        ({"remote": "sc://host", "engine": "embedded"}, "engine is embedded: drop one"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EngineConfig(**options)  # type: ignore[arg-type]


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"sc://127\.0\.0\.1:1: no Spark Connect server answers there"):
        session_for("test", EngineConfig(remote="sc://127.0.0.1:1"))
