"""The Spark session of every stage: Delta, UTC and the settings of small local runs stand here and nowhere else."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException, PySparkRuntimeError
from pyspark.java_gateway import launch_gateway
from pyspark.sql import DataFrameReader, SparkSession

from pipelines.java import driver_settings, how_java_ended, name_user, quiet_gateway, speak_utf8
from schemas.errors import InputError
from schemas.space import is_no_space

CODE_ROOT = Path(__file__).resolve().parents[1]  # the folder (or the submitted zip) that holds our packages
SPARK_ERRORS = (PySparkException, Py4JJavaError)  # what Spark and Delta raise, before or after they planned the work
_DELTA_CLASS = "io.delta.sql.DeltaSparkSessionExtension"
_SHUFFLE_PARTITIONS = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.coalescePartitions.initialPartitionNum")
_PARTITION_BYTES = 96 << 20  # of a shuffle in a local run: between 64 and 128 MB they sort without spilling in 2 GB
_PATTERNS = "__globPaths__"
_NAMED_FILES = {
    # Hadoop's file system with checksums looks for one beside each file, by a name that cannot hold a colon.
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}

_OUT_OF_MEMORY = (
    "Where nobody killed it, the system did, out of memory: give Java less (FEEDLOOP_DRIVER_MEMORY=2g), or the machine "
    "more. Nothing half-written is left: run the job again"
)

_ALWAYS = {
    "spark.sql.extensions": _DELTA_CLASS,
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",  # tokenizers' own threads fight with Spark's
}
_LOCAL = {  # a MERGE of 20k into 100k rows takes less than half the time with these
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.coalescePartitions.initialPartitionNum": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
}


def build_session(app: str, *, jvm: str = "short") -> SparkSession:
    """The running session, or a new one: spark-submit's master and jars where it started us, else a local one.

    `jvm` is what FEEDLOOP_JVM is where the user sets none.

    Environment, for a local session: FEEDLOOP_MASTER (default local[2]), FEEDLOOP_JARS (folder with Delta's jars),
    FEEDLOOP_DRIVER_MEMORY (such as 6g; by default a quarter of the machine's, from 2 to 8 GB), FEEDLOOP_JVM (short, or
    long for runs of many minutes), FEEDLOOP_SPARK_LOG (file that gets the JVM's own log; without it that log goes when
    the process ends). spark-submit takes all this from its own command line.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    scratch = Path(tempfile.mkdtemp(prefix="feedloop-spark-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    settings = _ALWAYS | {"spark.sql.warehouse.dir": (scratch / "warehouse").as_uri()}
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        _check_submitted_jars()
    else:
        _start_local_jvm(app, settings, scratch, jvm)
    started = SparkConf()  # what the JVM was started with: by us, or by spark-submit
    if started.get("spark.master", "local").startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take python3 from PATH
        settings |= {name: value for name, value in _LOCAL.items() if ".driver." not in name}
    settings = {name: value for name, value in settings.items() if name in _ALWAYS or not started.contains(name)}
    builder = SparkSession.builder.appName(app)
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@contextmanager
def sized_for(spark: SparkSession, shuffled_bytes: int) -> Iterator[None]:
    """Inside, a local session cuts its shuffles for this many bytes; a cluster's own settings are left alone."""
    wanted = max(int(_LOCAL[_SHUFFLE_PARTITIONS[0]]), -(-shuffled_bytes // _PARTITION_BYTES))
    local = str(spark.sparkContext.master).startswith("local")
    with with_settings(spark, dict.fromkeys(_SHUFFLE_PARTITIONS, str(wanted)) if local else {}):
        yield


@contextmanager
def with_settings(spark: SparkSession, settings: dict[str, str]) -> Iterator[None]:
    """Inside, the session has these settings; afterwards those that it had."""
    before = {name: spark.conf.get(name, None) for name in settings}
    try:
        for name, value in settings.items():
            spark.conf.set(name, value)
        yield
    finally:
        for name, found in before.items():
            if found is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, found)


def located(path: str | Path) -> str:
    """The path as Spark and Hadoop must be told it: a URL as it is, and what has no scheme as a `file:` URI.

    A path without a scheme lies on `fs.defaultFS`, which is HDFS wherever a Hadoop configuration says so.
    """
    text = str(path)
    if "://" in text or text.startswith("file:/"):
        return text
    there = Path(text).absolute()
    if ".." in there.parts:  # Hadoop takes the folder before it away; where that is a link, it is another folder
        there = there.parent.resolve() / there.name
    return f"file:{there}"


def literally(path: Path) -> str:
    """The path for those readers of Spark that always look for patterns: brackets or stars in it are none."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", located(path))


def named_files(spark: SparkSession, paths: Sequence[Path]) -> list[tuple[DataFrameReader, list[str]]]:
    """Readers of these files, whatever characters their names hold, and by which names each reads some of them."""
    # Hadoop's patterns take no path with a colon, and Spark without patterns reads each file once per name with a star.
    alone = [path for path in paths if ":" in located(path)[5:] and literally(path) != located(path)]
    together = [literally(path) for path in paths if path not in alone]
    readers = [(spark.read.options(**_NAMED_FILES, **{_PATTERNS: "false"}), [located(path)]) for path in alone]
    return [(spark.read.options(**_NAMED_FILES), together)] * bool(together) + readers


@contextmanager
def plain_errors() -> Iterator[None]:
    """Inside, what Spark or Delta cannot do comes out as one InputError with its innermost reason."""
    try:
        yield
    except (*SPARK_ERRORS, Py4JError, ConnectionError) as error:
        if ended := how_java_ended(wait=not isinstance(error, SPARK_ERRORS)):
            raise InputError(f"Spark's Java process ended {ended} while it worked. {_OUT_OF_MEMORY}") from error
        if not isinstance(error, SPARK_ERRORS):
            raise
        if is_no_space(error):
            raise  # the job's command line knows the paths, and names the full one
        if gone := re.search(r"FAILED_READ_FILE\.FILE_NOT_EXIST\] .*? file (\S+?)\.? ", str(error)):
            raise InputError(
                f"{gone.group(1)}: this file is gone. ./feedloop maintain removes what only old versions hold, after "
                "its retention: name a later --as-of, or, if this was a run without it, run it again"
            ) from error
        if "Python worker exited unexpectedly" in str(error):
            raise InputError(f"a Python worker of Spark ended while it worked. {_OUT_OF_MEMORY}") from error
        reasons = re.findall(r"Caused by: (.+)", str(error)) or [str(error).strip().splitlines()[0]]
        raise InputError(
            f"Spark could not do it: {reasons[-1]}. Nothing half-written is left: mend it and run the job again "
            "(FEEDLOOP_SPARK_LOG=FILE keeps Spark's own log)"
        ) from error


def _start_local_jvm(app: str, settings: dict[str, str], scratch: Path, jvm: str) -> None:
    """Start the JVM by our own settings, its chatter kept off the user's terminal."""
    master = os.environ.get("FEEDLOOP_MASTER", "local[2]")
    conf = SparkConf(loadDefaults=False).setMaster(master).setAppName(app).set("spark.jars", _jars(master))
    for name, value in (settings | _LOCAL | driver_settings(jvm, scratch) | {"spark.local.dir": str(scratch)}).items():
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
        said = log.read_text(errors="replace").strip()[-800:] if log.exists() else str(error)
        raise InputError(
            f"Java did not start: {said or error}. Install Java 17 or 21, or run ./feedloop setup, which brings one"
        ) from error
    name_user(gateway)
    SparkContext(conf=conf, gateway=gateway)


def _jars(master: str) -> str:
    folder = Path(os.environ.get("FEEDLOOP_JARS", CODE_ROOT / "build" / "jars"))
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("delta-spark") for jar in jars):
        raise InputError(
            f"{folder}: no Delta jars there. Run ./feedloop setup, which collects them, or point FEEDLOOP_JARS at them"
        )
    # local: are taken as they are. Other schemes ask Hadoop for its user, before we can name one.
    scheme = "local:" if master.startswith("local") else ""
    return ",".join(f"{scheme}{jar}" for jar in jars)


def _check_submitted_jars() -> None:
    """spark-submit started the JVM: jars can only come from its own command line."""
    SparkContext._ensure_initialized()
    jvm = SparkContext._jvm
    assert jvm is not None, "spark-submit left no JVM to talk to"
    if not jvm.org.apache.spark.util.Utils.classIsLoadable(_DELTA_CLASS):
        raise InputError(
            "spark-submit was given no Delta jars. Add --jars with the files of build/jars (./feedloop setup collects "
            "them), or --packages io.delta:delta-spark_2.13:4.0.1"
        )
