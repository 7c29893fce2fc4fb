"""The command lines that submit jobs to each kind of cluster, with required values in capitals."""

from __future__ import annotations

import ast
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.cluster.environment import ARCHIVE

CLUSTERS = {  # kind -> text above its command lines
    "standalone": "Spark's own cluster: add `--master spark://HOST:7077`, unless conf/spark-defaults.conf names it. "
    "The driver is this machine. Without a master, the same lines run on this machine alone.",
    "yarn": "HADOOP_CONF_DIR names the folder with the cluster's yarn-site.xml and core-site.xml. The driver is this "
    "machine.",
    "kubernetes": "Driver and executors are pods of the image that deploy/Dockerfile makes. They see no folder of this "
    "machine: name URLs. deploy/README.md says how the storage's keys reach them.",
    "databricks": "Put the folder that holds this file into a volume first. Driver and executors are the workspace's. "
    "Not tried here, for it needs a workspace.",
}
IN_IMAGE = "/opt/feedloop"  # where deploy/Dockerfile puts the jobs' scripts
_VOLUME = "/Volumes/CATALOG/SCHEMA/VOLUME"
_USUAL = {"ingest": ("logs",)}  # optional, but only a replay, or a mapping that names its logs, does without


@dataclass(frozen=True, slots=True)
class Parts:
    """The files that `package` has collected."""

    archive: Path  # our code
    jars: list[Path]
    scripts: Mapping[str, Path]  # by job
    environment: Path | None  # Python for executors, where it was asked for


def submit_commands(cluster: str, parts: Parts) -> dict[str, str]:
    """Job -> the command line that submits it to the cluster."""
    if cluster == "databricks":
        return {job: _databricks(parts, script) for job, script in parts.scripts.items()}
    start = ["spark-submit", *_master(cluster)]
    if cluster != "kubernetes":  # the image holds all of it
        jars = ",".join(map(str, parts.jars))
        start += [*_python(parts), "--py-files", str(parts.archive), "--jars", jars]
    where = f"local://{IN_IMAGE}" if cluster == "kubernetes" else None
    return {
        job: " ".join([shlex.join([*start, f"{where}/{script.name}" if where else str(script)]), *_required(script)])
        for job, script in parts.scripts.items()
    }


def guide(parts: Parts) -> str:
    """The command lines of every kind of cluster, as a page."""
    lines = ["# How each job is given to a cluster", "", "Words in capitals are yours to fill in."]
    for cluster, says in CLUSTERS.items():
        lines += ["", f"## {cluster.capitalize()}", "", says]
        for command in submit_commands(cluster, parts).values():
            lines += ["", "```", command, "```"]
    return "\n".join(lines) + "\n"


def _master(cluster: str) -> list[str]:
    if cluster == "yarn":
        return ["--master", "yarn", "--deploy-mode", "client"]
    if cluster == "kubernetes":
        settings = {
            "spark.kubernetes.container.image": "IMAGE",
            "spark.kubernetes.authenticate.driver.serviceAccountName": "ACCOUNT",
            "spark.executor.instances": "2",
        }
        words = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        return ["--master", "k8s://https://HOST:6443", "--deploy-mode", "cluster", *words]
    return []


def _python(parts: Parts) -> list[str]:
    """Executors use the Python that is unpacked in their working folders; the driver uses this one."""
    if parts.environment is None:
        return []
    folder = ARCHIVE.partition(".")[0]
    settings = [f"spark.pyspark.python=./{folder}/bin/python", f"spark.pyspark.driver.python={sys.executable}"]
    words = [word for setting in settings for word in ("--conf", setting)]
    return ["--archives", f"{parts.environment}#{folder}", *words]


def _required(script: Path) -> list[str]:
    return [f"--{name} {name.upper()}" for name in required_options(script)]


def required_options(script: Path) -> list[str]:
    """The options that the job requires; parsed, not imported, because a job imports Spark or torch."""
    functions = [node for node in ast.parse(script.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    job = next(function for function in functions if function.name == script.stem).args
    pairs = zip(job.kwonlyargs, job.kw_defaults, strict=True)
    return [*_USUAL.get(script.stem, ()), *(of.arg.replace("_", "-") for of, default in pairs if default is None)]


def _databricks(parts: Parts, script: Path) -> str:
    """One run on a new cluster. Its runtime brings Spark 4.0 and Delta; the other packages come from the lock."""
    variables = {"PYTHONPATH": f"{_VOLUME}/{parts.archive.name}", "FEEDLOOP_ENGINE": "spark"}
    machines = {"spark_version": "17.3.x-scala2.13", "node_type_id": "NODE_TYPE", "num_workers": 2}
    task = {
        "task_key": script.stem,
        "new_cluster": {**machines, "spark_env_vars": variables},
        "libraries": [{"requirements": f"{_VOLUME}/requirements.txt"}],
        "spark_python_task": {
            "python_file": f"{_VOLUME}/{script.name}",
            "parameters": [word for option in _required(script) for word in option.split()],
        },
    }
    request = json.dumps({"run_name": f"feedloop {script.stem}", "tasks": [task]})
    return shlex.join(["databricks", "jobs", "submit", "--json", request])
