"""Spark on S3: commits of which one of two writers wins, settings by the environment, and who is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from pipelines.engine.s3 import LOG_STORE, LOG_STORE_CLASS_SETTING, LOG_STORE_SETTING, client_settings
from pipelines.lake.tables import Lake
from pipelines.session import with_settings
from schemas.errors import InputError
from schemas.storage.files import read
from schemas.storage.place import Place
from tests.engines import running


@pytest.fixture
def on_spark() -> Iterator[SparkSession]:
    with running("spark") as spark:
        yield spark


class LogStore:
    """Our class as Delta calls it, in the JVM of a session that may be older than the S3 server."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark.sparkContext._jvm
        self._conf = self._jvm.org.apache.hadoop.conf.Configuration(spark.sparkContext._jsc.hadoopConfiguration())
        keys = {"access.key": os.environ["AWS_ACCESS_KEY_ID"], "secret.key": os.environ["AWS_SECRET_ACCESS_KEY"]}
        for name, value in client_settings(os.environ).items():
            self._conf.set(name.removeprefix("spark.hadoop."), value)
        for name, value in keys.items():
            self._conf.set(f"fs.s3a.{name}", value)
        self._store = self._jvm.feedloop.ConditionalPutLogStore(self._conf)

    def write(self, place: Place, lines: list[str], *, overwrite: bool = False) -> None:
        path = self._jvm.org.apache.hadoop.fs.Path(place.text.replace("s3://", "s3a://"))
        of_java = self._jvm.java.util.ArrayList()
        for line in lines:
            of_java.add(line)
        self._store.write(path, of_java.iterator(), overwrite, self._conf)

    def read(self, place: Place) -> list[str]:
        path = self._jvm.org.apache.hadoop.fs.Path(place.text.replace("s3://", "s3a://"))
        found, lines = self._store.read(path, self._conf), []
        while found.hasNext():
            lines.append(found.next())
        return lines


def test_a_commit_is_put_once_and_never_over_another(on_spark: SparkSession, bucket: str) -> None:
    store, commit = LogStore(on_spark), Place.of(bucket) / "t/_delta_log/00000000000000000001.json"
    store.write(commit, ['{"a":"ø"}', '{"b":1}'])
    assert read(commit, largest=99).decode() == '{"a":"ø"}\n{"b":1}\n'
    assert store.read(commit) == ['{"a":"ø"}', '{"b":1}']
    with pytest.raises(Py4JJavaError, match=r"java\.nio\.file\.FileAlreadyExistsException: s3a://.*0001\.json"):
        store.write(commit, ['{"another":1}'])
    store.write(commit, ['{"a":"ø"}', '{"b":1}'])  # the client repeats a put whose answer was lost
    assert store.read(commit) == ['{"a":"ø"}', '{"b":1}']
    store.write(commit, ['{"another":1}'], overwrite=True)
    assert store.read(commit) == ['{"another":1}']


def test_a_failure_of_the_store_is_reported_by_hadoop_s_own_errors(on_spark: SparkSession, bucket: str) -> None:
    with pytest.raises(Py4JJavaError, match=r"(?s)UnknownStoreException.*no-such-bucket-at-all"):
        LogStore(on_spark).write(Place.of("s3://no-such-bucket-at-all/1.json"), ["x"])


def test_a_session_of_ours_commits_to_s3_by_our_log_store(on_spark: SparkSession) -> None:
    assert on_spark.conf.get(LOG_STORE_SETTING) == LOG_STORE
    assert Lake(on_spark, "s3a://bucket/lake").root == "s3://bucket/lake"
    assert Lake(on_spark, "s3://bucket/lake").path is not None


@pytest.mark.parametrize("named", [None, "io.delta.storage.S3SingleDriverLogStore"])
def test_spark_on_s3_is_refused_without_a_log_store_that_keeps_every_commit(
    on_spark: SparkSession, named: str | None
) -> None:
    on_spark.conf.unset(LOG_STORE_SETTING)  # as of a cluster, or a Connect server, that was started without it
    try:
        with (
            with_settings(on_spark, {} if named is None else {LOG_STORE_SETTING: named}),
            pytest.raises(InputError, match=r"(?s)lose commits.*feedloop\.ConditionalPutLogStore.*log-store\.jar"),
        ):
            Lake(on_spark, "s3a://bucket/lake")
        for setting in (LOG_STORE_SETTING, LOG_STORE_CLASS_SETTING):
            with with_settings(on_spark, {setting: "io.delta.storage.S3DynamoDBLogStore"}):
                assert Lake(on_spark, "s3a://bucket/lake").root == "s3://bucket/lake"
        assert Lake(on_spark, "/on/a/disk").root == "/on/a/disk"
    finally:
        on_spark.conf.set(LOG_STORE_SETTING, LOG_STORE)


def test_the_embedded_engine_commits_by_conditional_put_itself() -> None:
    with running("embedded") as session:
        assert Lake(session, "s3n://bucket/lake").root == "s3://bucket/lake"


def test_the_client_goes_where_the_environment_leads_the_other_libraries() -> None:
    plain = client_settings({})
    assert set(plain) == {"spark.hadoop.fs.s3.impl", "spark.hadoop.fs.s3n.impl"}
    assert client_settings({"AWS_DEFAULT_REGION": "eu-north-1"})["spark.hadoop.fs.s3a.endpoint.region"] == "eu-north-1"
    variables = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a key",
        "AWS_SECRET_ACCESS_KEY": "a secret",
        "AWS_SESSION_TOKEN": "a token",
    }
    found = {name.removeprefix("spark.hadoop.fs.s3a."): value for name, value in client_settings(variables).items()}
    assert found.items() >= {
        ("endpoint", "http://127.0.0.1:9000"),
        ("endpoint.region", "us-east-1"),
        ("path.style.access", "true"),
        ("connection.ssl.enabled", "false"),
    }
    assert not {"a key", "a secret", "a token"} & set(found.values()), "they would stand in a command line"
    hosted = client_settings(variables | {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"})
    assert hosted["spark.hadoop.fs.s3a.path.style.access"] == "false"
    assert "Anonymous" in client_settings({"AWS_SKIP_SIGNATURE": "1"})["spark.hadoop.fs.s3a.aws.credentials.provider"]
    by_file = client_settings({"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token"})
    assert "WebIdentityTokenFile" in by_file["spark.hadoop.fs.s3a.aws.credentials.provider"]
