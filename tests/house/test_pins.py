"""Pins: pyproject.toml, the locks and what is installed agree, and no build file names a host."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.house.source import PACKAGES

LOCKS = REPOSITORY / "requirements"
GROUPS = ("spark", "train", "dev", "mlflow", "java")
BUILD_FILES = [
    "feedloop", "pyproject.toml", "build.gradle.kts", ".ci/run", ".pre-commit-config.yaml",
    *(path.relative_to(REPOSITORY).as_posix() for path in sorted(LOCKS.iterdir())),
]  # fmt: skip


def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_of_ours_is_listed() -> None:
    folders = {path.parent.relative_to(REPOSITORY) for name in PACKAGES for path in REPOSITORY.glob(f"{name}/**/*.py")}
    listed = project()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(str(folder).replace("/", ".") for folder in folders)


def wanted(group: str) -> list[Requirement]:
    """What a group asks for; the groups that run our code also need the project's own dependencies."""
    own = project()["project"]["dependencies"] if group in {"spark", "train"} else []
    return [Requirement(line) for line in [*own, *project()["dependency-groups"][group]]]


def locked(group: str) -> dict[str, str]:
    """Name -> version of the packages that this machine would install from a lock."""
    found = {}
    for line in (LOCKS / f"{group}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                (exact,) = requirement.specifier
                assert exact.operator == "=="
                found[canonicalize_name(requirement.name)] = exact.version
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_a_lock_holds_each_dependency_at_an_allowed_version(group: str) -> None:
    versions = locked(group)
    for requirement in wanted(group):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"requirements/{group}.txt lacks {requirement.name}: run ./feedloop lock"
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}: run ./feedloop lock"


@pytest.mark.parametrize("group", [*GROUPS, "uv"])
def test_every_locked_package_carries_its_hashes(group: str) -> None:
    text = (LOCKS / f"{group}.txt").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[a-z])", text):
        if re.match(r"[a-z]", entry):
            assert "--hash=sha256:" in entry, entry.partition("\n")[0]


def test_the_locks_agree_with_each_other() -> None:
    seen: dict[str, str] = {}
    for group in GROUPS:
        for name, version in locked(group).items():
            assert seen.setdefault(name, version) == version, f"{name} differs between locks: run ./feedloop lock"


def test_the_groups_stay_apart() -> None:
    assert not {"torch", "transformers", "triton"} & set(locked("spark")), "a Spark node needs no torch"
    assert not {"pyspark", "delta-spark", "py4j"} & set(locked("train")), "a trainer needs no Spark"


def test_installed_versions_are_those_of_the_locks() -> None:
    for group in ("spark", "train", "dev", "mlflow"):
        for name, version in locked(group).items():
            try:
                assert metadata.version(name) == version, f"{name} is not as locked: run ./feedloop setup"
            except metadata.PackageNotFoundError:
                pytest.fail(f"{name} is not installed: run ./feedloop setup")


def bounds_without_reason(text: str) -> list[str]:
    """Lines with an upper bound, such as "<2" or "==1.0", and no comment of the form `# < 2: why`."""
    wrong = []
    for line in text.splitlines():
        bound = re.search(r'"[^"]*(<|==)\s*([\w.]+)"', line)
        if bound and not re.search(rf"#.*{bound[1]} ({re.escape(bound[2])})?: *\S", line):
            wrong.append(line.strip())
    return wrong


def test_every_upper_bound_states_its_reason() -> None:
    wrong = bounds_without_reason((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert not wrong, f"say why behind these bounds in pyproject.toml, as in '# < 2: why': {wrong}"
    assert bounds_without_reason('"numpy>=1,<2",\n"a<3",  # < 3: because\n"b>=1",') == ['"numpy>=1,<2",']


def test_the_java_side_has_the_same_pins() -> None:
    script = (REPOSITORY / "build.gradle.kts").read_text(encoding="utf-8")
    pins = dict(re.findall(r'^val (\w+) = "([^"]+)"', script, flags=re.MULTILINE))
    assert pins["sparkVersion"] == locked("spark")["pyspark"]
    assert pins["deltaVersion"] == locked("spark")["delta-spark"]
    jars = [line.split()[1] for line in (LOCKS / "jars.sha256").read_text(encoding="utf-8").splitlines()]
    assert f"delta-spark_{pins['scalaVersion']}-{pins['deltaVersion']}.jar" in jars
    assert f"delta-storage-{pins['deltaVersion']}.jar" in jars
    assert {f"hadoop-aws-{pins['hadoopVersion']}.jar", f"s3-{pins['awsVersion']}.jar"} <= set(jars)
    assert (Path(_spark_home()) / "jars" / f"hadoop-client-api-{pins['hadoopVersion']}.jar").is_file()
    scala = {path.name for path in (Path(_spark_home()) / "jars").glob("scala-library-*.jar")}
    assert any(name.startswith(f"scala-library-{pins['scalaVersion']}.") for name in scala), scala


def _spark_home() -> str:
    found = metadata.distribution("pyspark").locate_file("pyspark")
    return str(found)


def test_petastorm_still_needs_its_bounds() -> None:
    """When petastorm moves on from 0.13.1, the bounds on pyarrow, numpy and setuptools may be lifted: try it then."""
    assert metadata.version("petastorm") == "0.13.1"
    assert int(metadata.version("pyarrow").partition(".")[0]) < 15
    assert int(metadata.version("numpy").partition(".")[0]) < 2
    assert int(metadata.version("setuptools").partition(".")[0]) < 70


@pytest.mark.parametrize("name", BUILD_FILES)
def test_no_build_file_names_a_host_or_a_place_on_some_machine(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert not re.search(r"\w+://|--(extra-)?index-url|--find-links", text), f"{name} names a host"
    assert not re.search(r"(?<![\w.$}])/(home|root|work|tmp|Users|opt)/", text), f"{name} names a place on some machine"
