"""Starts Apache Spark with a Java process of its own: under spark-submit, or as a local session."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from pipelines.engine.s3 import (
    LOG_STORE,
    LOG_STORE_CLASS_SETTING,
    LOG_STORE_JAR,
    client_settings,
    log_store_settings,
)
from pipelines.java import driver_settings, name_user, quiet_gateway, speak_utf8
from pipelines.session import ALWAYS, CONNECT_MODE, DELTA_CLASS, SHUFFLE_PARTITIONS, ZONE, cores_of
from schemas.errors import InputError

CODE_ROOT = Path(__file__).resolve().parents[2]  # the folder (or the submitted zip) that holds our packages
_LOCAL = {  # a MERGE of 20k into 100k rows takes less than half the time with these
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
}
_PER_CORE = (*SHUFFLE_PARTITIONS, "spark.sql.sources.parallelPartitionDiscovery.parallelism")


def build_session(app: str, *, jvm: str = "short") -> SparkSession:
    """The running session, or a new one: with spark-submit's master and jars under spark-submit, else a local one.

    `jvm`: the default of FEEDLOOP_JVM.

    Environment, for a local session: FEEDLOOP_MASTER (default local[*], all cores), FEEDLOOP_JARS (folder with Delta's
    jars), FEEDLOOP_DRIVER_MEMORY (such as 6g; by default a quarter of the machine's, from 2 to 8 GB), FEEDLOOP_JVM
    (short, or long for runs of many minutes), FEEDLOOP_SPARK_LOG (file for the JVM's own log, which is otherwise
    removed when the process ends). spark-submit takes all this from its own command line.
    """
    os.environ.pop(CONNECT_MODE, None)  # left by an embedded engine of this process or its parent
    active = SparkSession.getActiveSession()
    if active is not None:
        active.conf.set(ZONE, "UTC")  # another zone would give other dates
        return active
    scratch = Path(tempfile.mkdtemp(prefix="feedloop-spark-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    settings = ALWAYS | client_settings(os.environ) | {"spark.sql.warehouse.dir": (scratch / "warehouse").as_uri()}
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        _check_submitted_jars()
    else:
        _start_local_jvm(app, settings, scratch, jvm)
    started = SparkConf()  # what the JVM was started with: by us, or by spark-submit
    if not started.contains(LOG_STORE_CLASS_SETTING) and _is_loadable(LOG_STORE):
        settings |= log_store_settings()
    if started.get("spark.master", "local").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take python3 from PATH
        settings |= {
            n: v for n, v in _local_settings(started.get("spark.master", "local")).items() if ".driver." not in n
        }
    settings = {name: value for name, value in settings.items() if name in ALWAYS or not started.contains(name)}
    builder = SparkSession.builder.appName(app)
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def _start_local_jvm(app: str, settings: dict[str, str], scratch: Path, jvm: str) -> None:
    """Start the JVM by our own settings, with its log kept off the user's terminal."""
    master = os.environ.get("FEEDLOOP_MASTER", "local[*]")
    jars = _jars(master)
    conf = SparkConf(loadDefaults=False).setMaster(master).setAppName(app).set("spark.jars", jars)
    settings = settings | _local_settings(master) | driver_settings(jvm, scratch)
    settings |= {"spark.local.dir": str(scratch), "spark.hadoop.fs.s3a.buffer.dir": str(scratch / "s3a")}
    if LOG_STORE_JAR in jars:
        settings |= log_store_settings()
    for name, value in settings.items():
        conf.set(name, value)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    paths = [str(CODE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # workers import our packages wherever the job was started
    log = Path(os.environ.get("FEEDLOOP_SPARK_LOG", scratch / "spark.log"))
    speak_utf8()
    quiet_gateway()
    try:
        with log.open("ab") as stream:
            gateway = launch_gateway(conf, {"stderr": stream})  # type: ignore[no-untyped-call]
    except (OSError, PySparkRuntimeError) as error:
        reason = log.read_text(errors="replace").strip()[-800:] if log.exists() else str(error)
        raise InputError(
            f"Java did not start: {reason or error}. Install Java 17 or 21, or run ./feedloop setup, which brings one"
        ) from error
    name_user(gateway)
    SparkContext(conf=conf, gateway=gateway)


def _local_settings(master: str) -> dict[str, str]:
    return _LOCAL | dict.fromkeys(_PER_CORE, str(cores_of(master)))


def _jars(master: str) -> str:
    folder = Path(os.environ.get("FEEDLOOP_JARS", CODE_ROOT / "build" / "jars"))
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("delta-spark") for jar in jars):
        raise InputError(
            f"{folder}: no Delta jars there. Run ./feedloop setup, which collects them, or point FEEDLOOP_JARS at them"
        )
    # Paths of scheme local: are used directly. Other schemes ask Hadoop for its user before we can name one.
    scheme = "local:" if master.startswith("local") else ""
    return ",".join(f"{scheme}{jar}" for jar in jars)


def _check_submitted_jars() -> None:
    """InputError where spark-submit, which started the JVM, was given no Delta jars on its command line."""
    SparkContext._ensure_initialized()
    if not _is_loadable(DELTA_CLASS):
        raise InputError(
            "spark-submit was given no Delta jars. Add --jars with the files of build/jars (./feedloop setup collects "
            "them), or --packages io.delta:delta-spark_2.13:4.0.1"
        )


def _is_loadable(name: str) -> bool:
    jvm = SparkContext._jvm
    assert jvm is not None, "there is no JVM to talk to"
    return bool(jvm.org.apache.spark.util.Utils.classIsLoadable(name))
