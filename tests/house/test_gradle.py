"""build.gradle.kts evaluated for real, by Gradle's engine next to the project, where there is one."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from pipelines.engine.s3 import LOG_STORE_JAR
from tests.conftest import REPOSITORY, SHARED

ENGINE = SHARED / "gradle" / "gradle.sh"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the Java source alone, so that nothing else can answer for it."""
    if not ENGINE.is_file():
        pytest.skip("no Gradle engine: ../shared/gradle is absent next to this clone")
    missing = [tool for tool in ("mvn", "javac", "java", "unzip") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"the Gradle engine needs {', '.join(missing)} on PATH")
    folder = tmp_path_factory.mktemp("gradle")
    shutil.copy2(REPOSITORY / "build.gradle.kts", folder)
    shutil.copytree(REPOSITORY / "jvm", folder / "jvm")
    return folder


def gradle(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ENGINE), *argv], cwd=folder, capture_output=True, text=True, check=False, timeout=500
    )


def test_the_script_has_its_tasks_and_collects_the_jars_of_the_door(build: Path) -> None:
    done = gradle(build, "tasks", "--all", "collectJars")
    assert done.returncode == 0, done.stderr
    for line in ("collectJars - Collects the jars of Delta and S3", "quality - Lint", "test - The tests", "check - "):
        assert line in done.stdout
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (build / "build" / "jars").iterdir()}
    assert found.pop(LOG_STORE_JAR)
    assert classes(build / "build" / "jars" / LOG_STORE_JAR) == classes(REPOSITORY / "build" / "jars" / LOG_STORE_JAR)
    lines = (REPOSITORY / "requirements" / "jars.sha256").read_text(encoding="utf-8").splitlines()
    assert found == {name: checksum for checksum, name in (line.split() for line in lines)}


def classes(jar: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(jar) as packed:
        return {name: packed.read(name) for name in packed.namelist() if name.endswith(".class")}


def test_check_calls_the_door_twice_and_fails_with_it(build: Path) -> None:
    door = build / "feedloop"
    door.write_text('#!/bin/sh\necho "door: $1" >>calls\n[ "$1" != test ]\n')
    door.chmod(0o755)
    done = gradle(build, "check", "--continue")
    assert done.returncode == 1
    assert sorted((build / "calls").read_text().split("\n")[:-1]) == ["door: check", "door: test"]
