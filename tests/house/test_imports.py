"""Which libraries each package imports, and which modules write files or read clocks. Rooms: see pyproject.toml."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.house.source import PACKAGES, Import, Module, imports, is_theirs, modules

# Library -> the files that may import it. A library without a row may be imported nowhere.
THEIRS = {
    "schemas": {
        "numpy": ["*"],
        "msgspec": ["schemas/*"],  # typed values of JSON; the packages take them from strict_json
        "pyspark": ["schemas/as_spark.py"],
        "pyarrow": ["schemas/as_arrow.py"],  # what the trainer writes as Delta, without Spark
        "petastorm": ["schemas/as_petastorm.py"],
        "obstore": ["schemas/storage/objects.py", "schemas/storage/paths.py"],
        "upath": ["schemas/storage/paths.py"],
        "hdfs_native": ["schemas/storage/hadoop.py"],  # not in the locks: whoever has HDFS installs it
        "xxhash": ["schemas/history.py"],  # the hash by which an impression names its history
    },
    "pipelines": {
        "pyspark": ["*"],
        "delta": ["*"],
        "numpy": ["*"],
        "numba": ["*"],
        "pandas": ["*"],
        "pyarrow": ["*"],
        "deltalake": ["*"],  # the log of a table, and the embedded engine's commits
        "pysail": ["pipelines/engine/embedded.py"],
        "grpc": ["pipelines/engine/connect.py"],  # how a Spark Connect server that is not there shows
        "py4j": ["pipelines/session.py"],  # pyspark's bridge: what the JVM says when it does not start
        "msgspec": ["pipelines/ingest/parse/*", "pipelines/ingest/discover/json_*"],  # strict JSON
        "xxhash": ["pipelines/ingest/parse/implied.py"],  # ids of impressions that have none, as Spark would hash them
        "tokenizers": ["pipelines/news/segmenting.py", "pipelines/news/segment.py"],
        "regex": ["pipelines/news/refine.py"],
        "stopwordsiso": ["pipelines/news/stop_words.py"],
        "petastorm": ["pipelines/packing/petastorm_schema.py"],
    },
    "trainer": {
        "torch": ["*"],
        "numpy": ["*"],
        "safetensors": ["*"],
        "transformers": ["trainer/model/*", "trainer/cost/encoder_speed.py"],  # shapes without weights to time
        "petastorm": ["trainer/data/petastorm_reader.py"],
        "pyarrow": [
            "trainer/data/*",
            "trainer/eval/*",
            "trainer/serve/*",
        ],  # evaluation impressions and vectors are plain Parquet
        "faiss": ["trainer/serve/*"],
        "deltalake": ["trainer/eval/*", "trainer/serve/*"],
        "arro3": ["trainer/eval/lake_rows.py"],  # delta-rs' own Arrow: pyarrow 14 does not know all its types
    },
    "jobs": {
        "cyclopts": ["jobs/cli/command_line.py", "jobs/cli/place_options.py"],
        "docstring_parser": ["jobs/cli/command_line.py"],  # cyclopts' own reader of docstrings: help comes from both
        "rich": ["*"],
        "matplotlib": ["jobs/cli/plot.py"],
        "plotly": ["jobs/page/*"],
        "jinja2": ["jobs/page/page.py"],
        "markupsafe": ["jobs/page/page.py"],  # jinja2's own: what is already escaped
        "numpy": ["*"],
        "pyarrow": ["*"],
        "duckdb": ["jobs/bench/in_duckdb.py"],  # a rival in the benchmark
        "torch": ["jobs/tracking/*"],  # its writer for TensorBoard, its profiler
        "mlflow": ["jobs/tracking/mlflow_run.py"],  # a tracker
    },
}

# Where the outer world is touched: writes, clocks and environment variables.
TOUCHES_THE_WORLD = [
    "schemas/storage/*",  # files of any place
    "schemas/cells.py",  # np.save into memory: the bytes of a field
    "jobs/*",
    "pipelines/session.py",
    "pipelines/delta/reading.py",  # links to a table whose path the engine cannot take
    "pipelines/engine/*",  # servers, scratch files, what processes inherit
    "pipelines/java.py",  # what the JVM inherits
    "pipelines/lake/tables.py",
    "pipelines/ingest/discover/table_log.py",  # links to a table whose path delta-rs cannot take
    "pipelines/ingest/discover/fingerprint.py",  # whether a file changed but a moment ago
    "pipelines/lake/leases.py",  # a clock, and objects
    "pipelines/lake/locks.py",  # a file that the kernel locks
    "pipelines/lake/versions.py",  # reports next to the tables
    "pipelines/news/*",  # the token table
    "pipelines/packing/write.py",
    "pipelines/packing/build_folder.py",  # where a directory is made
    "pipelines/packing/shared_output.py",  # what executors can write
    "trainer/data/cache.py",  # what was read from behind a URL
    "trainer/data/stored_files.py",  # a block on its way into the cache
    "pipelines/packing/repack.py",  # one packed directory in the place of another
    "pipelines/forget/runs.py",  # examples and pages without the records of users
    "pipelines/forget/flow.py",  # when rows were erased
    "pipelines/maintain/flow.py",  # how old rows are
    "pipelines/maintain/erased_versions.py",  # whether a retention has passed
    "trainer/checkpoint/files.py",
    "trainer/checkpoint/retention.py",
    "trainer/checkpoint/remote.py",  # brought from URLs
    "trainer/checkpoint/mirror.py",  # what is on its way to a URL
    "trainer/checkpoint/working_folder.py",  # of a run whose --out is a URL
    "trainer/loop/metrics_log.py",
    "trainer/cost/flops.py",  # a clock
    "trainer/setup/frozen_store.py",  # the frozen layers' output, kept between runs
    "trainer/setup/shard_file.py",  # the file that holds it
    "trainer/exact/ranks.py",  # what a process found, for the one that started it
    "trainer/serve/export_files.py",
    "trainer/serve/export_folder.py",
    "trainer/serve/export_place.py",  # brought from URLs
]
_WRITES = {
    "write_text",
    "write_bytes",
    "mkdir",
    "makedirs",
    "unlink",
    "rmdir",
    "rmtree",
    "touch",
    "symlink_to",
    "savez",
}
_WORLD = {
    "os.environ", "os.getenv", "os.rename", "os.replace", "os.remove", "np.save", "shutil.move", "shutil.copy",
    "time.time", "time.time_ns", "time.monotonic", "time.perf_counter",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
}  # fmt: skip


def every_import() -> Iterator[tuple[Module, Import]]:
    for module in modules():
        for found in imports(module.tree):
            yield module, found


def place(module: Module, line: int) -> str:
    return f"{module.path}:{line}"


def allowed(path: str, patterns: list[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


@pytest.mark.parametrize("package", PACKAGES)
def test_libraries_are_imported_only_where_their_row_says(package: str) -> None:
    rows = THEIRS[package]
    wrong = []
    for module, found in every_import():
        library = found.target.partition(".")[0]
        if module.package == package and is_theirs(found.target) and not allowed(module.path, rows.get(library, [])):
            wrong.append(f"{place(module, found.line)}: {library} is not for this file; give it a row with its reason")
    assert not wrong, "\n".join(wrong)


def test_the_trainer_never_meets_spark_through_schemas() -> None:
    wrong = [
        f"{place(module, found.line)}: {found.target}"
        for module, found in every_import()
        if module.package == "trainer" and found.target == "schemas.as_spark"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_holds_both_torch_and_spark() -> None:
    for module in modules():
        libraries = {found.target.partition(".")[0] for found in imports(module.tree)}
        assert not {"torch", "pyspark"} <= libraries, f"{module.path}: torch and pyspark meet; pass data instead"


def test_pipelines_ask_nothing_that_spark_connect_has_not() -> None:
    """Only what starts a Java process of its own knows of one: all else runs on any session."""
    classic = {"_jvm", "_jsc", "_jsparkSession", "_jdf", "rdd", "sparkContext", "SparkContext", "TaskContext"}
    starts_java = {"pipelines/engine/local_spark.py", "pipelines/java.py"}
    wrong = [
        f"{place(module, node.lineno)}: {name}"
        for module in modules()
        if module.package == "pipelines" and str(module.path) not in starts_java
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        for name in [node.id if isinstance(node, ast.Name) else node.attr]
        if name in classic | {"localCheckpoint", "persist", "monotonically_increasing_id", "spark_partition_id"}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_hides_inside_a_function() -> None:
    wrong = [
        f"{place(module, found.line)}: import {found.target} at the top of the file"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for found in imports(node)
    ]
    wrong += [
        f"{place(module, node.lineno)}: importlib.import_module dodges these rules"
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "__import__"}
    ]
    assert not wrong, "\n".join(wrong)


def outer_world(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each write, clock and environment variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _WORLD:
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRITES:
            yield node.lineno, ast.unparse(node.func)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "open":
            modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if any(mode[:1] in {"w", "a", "x"} and len(mode) <= 3 for mode in modes):
                yield node.lineno, ast.unparse(node)


def test_only_the_listed_modules_touch_the_outer_world() -> None:
    wrong = [
        f"{place(module, line)}: {what}; let the caller pass it in, or list the file with its reason"
        for module in modules()
        if not allowed(module.path, TOUCHES_THE_WORLD)
        for line, what in outer_world(module.tree)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rules_see_what_they_forbid() -> None:
    """The finders themselves: a rule that finds nothing anywhere would always pass."""
    bad = ast.parse(
        "import torch\nfrom schemas import as_spark\nimport os, time\nos.environ['A']\np.open('w')\ntime.time()"
    )
    assert [found.target for found in imports(bad)] == ["torch", "schemas.as_spark", "os", "time"]
    assert sorted(what for _, what in outer_world(bad)) == ["os.environ", "p.open('w')", "time.time"]
    assert is_theirs("torch.nn")
    assert not is_theirs("os.path")
