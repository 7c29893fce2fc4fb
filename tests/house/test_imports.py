"""Who may import whom: dependencies point one way, and the halves meet in data, never in code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.house.source import PACKAGES, Import, Module, imports, is_ours, is_theirs, modules

OURS = {
    "schemas": {"schemas"},
    "pipelines": {"pipelines", "schemas"},
    "trainer": {"trainer", "schemas"},
    "jobs": {"jobs", "pipelines", "schemas", "trainer"},
}

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
        "msgspec": [f"pipelines/ingest/{name}.py" for name in ("json_*", "extras", "parse")],  # strict JSON
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
        "pyarrow": ["trainer/data/*", "trainer/eval/*"],  # evaluation impressions and vectors are plain Parquet
        "faiss": ["trainer/eval/*"],
        "deltalake": ["trainer/eval/*"],
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

# Inside the trainer: part -> the parts below it. data, model and encode do not know each other.
TRAINER_PARTS = {
    "data": {"data"},
    "model": {"model"},
    "encode": {"encode"},
    "eval.metrics": {"eval.metrics"},
    "tasks": {"tasks", "data", "model", "encode", "eval.metrics"},
    "eval": {"eval", "eval.metrics", "tasks", "data", "model", "encode"},
    "loop": {"loop", "eval", "eval.metrics", "tasks", "data", "model", "encode"},
    "exact": {"exact", "loop", "eval", "eval.metrics", "tasks", "data", "model", "encode"},
    "config": {"loop", "eval", "eval.metrics", "tasks", "data", "model", "encode"},
}
# These put the parts of a config together and so stand above it; no part imports them.
_ABOVE = ("prepare", "principal_start", "judging", "warm_start", "parts", "snapshot")
_ABOVE += ("trainer", "fitting", "keeping", "exporting")
ABOVE_CONFIG = {f"trainer.loop.{name}" for name in _ABOVE}

# Where the outer world is touched: writes, clocks and environment variables.
TOUCHES_THE_WORLD = [
    "schemas/storage/*",  # files of any place
    "schemas/cells.py",  # np.save into memory: the bytes of a field
    "jobs/*",
    "pipelines/session.py",
    "pipelines/engine/*",  # servers, scratch files, what processes inherit
    "pipelines/java.py",  # what the JVM inherits
    "pipelines/lake/tables.py",
    "pipelines/ingest/discover/table_log.py",  # links to a table whose path delta-rs cannot take
    "pipelines/ingest/discover/fingerprint.py",  # whether a file changed but a moment ago
    "pipelines/lake/leases.py",  # a clock, and objects
    "pipelines/lake/locks.py",  # a file that the kernel locks
    "pipelines/lake/versions.py",  # reports beside the tables
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


def test_packages_import_only_what_stands_before_them() -> None:
    wrong = [
        f"{place(module, found.line)}: {module.package} may not import {found.target}"
        for module, found in every_import()
        if is_ours(found.target) and found.target.partition(".")[0] not in OURS[module.package]
    ]
    assert not wrong, "\n".join(wrong)


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


# A stage that stands above others, whose rows and lines it reads as they do.
ABOVE_STAGES = {"forget": {"ingest"}}  # a user's lines are found by parsing them; a batch that is pending is completed


def test_stages_of_the_pipelines_do_not_import_each_other() -> None:
    """What lies beside them all may be imported by all, and so may the engines, which know no stage."""
    wrong = []
    for module, found in every_import():
        target = found.target.split(".")
        if module.package != "pipelines" or target[0] != "pipelines" or len(target) < 3 or target[1] == "engine":
            continue  # not ours to judge, or a module that all stages share
        stage = module.name.split(".")[1]
        if target[1] != stage and target[1] not in ABOVE_STAGES.get(stage, ()):
            wrong.append(f"{place(module, found.line)}: {stage} imports {found.target}; share it beside session.py")
    assert not wrong, "\n".join(wrong)


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


def part_of(name: str) -> str:
    if name == "trainer.eval.metrics":
        return "eval.metrics"
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def test_parts_of_the_trainer_point_one_way() -> None:
    wrong = []
    for module, found in every_import():
        if module.package != "trainer" or not found.target.startswith("trainer."):
            continue
        if module.name in ABOVE_CONFIG and found.target == "trainer.config":
            continue
        part = part_of(module.name)
        if part_of(found.target) not in TRAINER_PARTS.get(part, set()):
            wrong.append(f"{place(module, found.line)}: {part or 'trainer'} may not import {found.target}")
        if found.target in ABOVE_CONFIG and module.name not in ABOVE_CONFIG:
            wrong.append(f"{place(module, found.line)}: {found.target} is the top of the trainer; only jobs import it")
    assert not wrong, "\n".join(wrong)


def test_jobs_import_other_jobs_only_to_run_them() -> None:
    """A job may call another (demo runs them all); the three packages below never do."""
    wrong = [place(module, f.line) for module, f in every_import() if module.package != "jobs" and f.target == "jobs"]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports() -> None:
    below = {module.name: {f.target for f in imports(module.tree) if is_ours(f.target)} for module in modules()}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join([*trail[trail.index(name) :], name])}"
        if name in done:
            return
        for target in sorted(below.get(name, ())):
            if target != name:
                walk(target, (*trail, name))
        done.add(name)

    for name in sorted(below):
        walk(name, ())


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
