"""The report of differences between driver and executors; tests/cluster checks it on real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pyspark.sql import SparkSession

from jobs.package import package
from pipelines.engine import shared_places
from pipelines.engine.agreement import PACKAGES, Environment, check_agreement, differences, python_failure
from pipelines.engine.probe import describe_process
from pipelines.engine.shared_places import unreachable_places
from schemas.storage import files
from schemas.storage.place import Place
from tests.conftest import REPOSITORY
from tests.engines import connect_server
from tests.house.test_pins import locked, wanted

HERE = Environment("driver", "3.11.7", {"numpy": "1.26.4", "regex": None}, "ab" * 32)


def executor(host: str, **other: object) -> Environment:
    return HERE._replace(host=host, **other)  # type: ignore[arg-type]


def test_what_is_alike_is_no_fault() -> None:
    assert differences(HERE, [executor("a"), executor("b", python="3.11.9")]) == []


def test_each_difference_is_reported_once_with_its_hosts_and_what_to_do() -> None:
    others = [
        executor("b", packages={"numpy": "2.1.0", "regex": None}),
        executor("a", packages={"numpy": "2.1.0", "regex": "2025.9"}),
        executor("c", packages={"regex": None}, python="3.12.1", code=None),
    ]
    reported = differences(HERE, others)
    assert [line.partition(". ")[0] for line in reported] == [
        "Python is 3.11 here and 3.12 on c",
        "numpy is 1.26.4 here and 2.1.0 on a, b",
        "numpy is 1.26.4 here and not there on c",
        "regex is not installed here and 2025.9 on a",
        "feedloop's code is abababababab here and not there on c",
    ]
    assert all("./feedloop package --environment" in line for line in reported[:-1])
    assert "--py-files" in reported[-1]


@pytest.mark.parametrize(
    ("said", "reported"),
    [
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that in driver: 3.11, PySpark",
            "Python is 3.11 here and 3.12 on the executors",
        ),
        ('java.io.IOException: Cannot run program "./environment/bin/python": error=2', "no Python at ./environment"),
        ("ModuleNotFoundError: No module named 'pyarrow'", "Python has no pyarrow"),
    ],
)
def test_why_python_does_not_run_at_all(said: str, reported: str) -> None:
    assert reported in (python_failure(said) or "")


def test_another_error_is_not_taken_for_a_difference() -> None:
    assert python_failure("Job aborted due to stage failure: no space left on device") is None


def test_the_sum_of_our_code_is_the_same_from_a_folder_and_from_the_zip_and_another_after_a_change(
    tmp_path: Path,
) -> None:
    archive = Path(package(out=tmp_path)["zip"])
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"#" if name == "schemas/errors.py" else b""))

    def code(path: Path) -> str:
        words = (
            "import json; from pipelines.engine.probe import describe_process; "
            "print(json.loads(describe_process(()))['code'])"
        )
        environment = {"PYTHONPATH": str(path)}
        command = [sys.executable, "-c", words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert code(archive) == code(REPOSITORY) != code(changed)


def test_the_packages_are_installed_and_locked_for_spark() -> None:
    names = {canonicalize_name(name) for name in PACKAGES}
    assert names <= {canonicalize_name(Requirement(str(each)).name) for each in wanted("spark")} & set(locked("spark"))
    here = json.loads(describe_process(PACKAGES))["packages"]
    assert {name: here[name] for name in PACKAGES} == {name: metadata.version(name) for name in PACKAGES}


def test_one_machine_is_not_asked(spark: SparkSession, tmp_path: Path) -> None:
    check_agreement(spark, [Place.of(tmp_path / "nowhere")])


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_shared_where_a_new_file_of_the_driver_is_seen(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Tasks of the embedded engine run in this process: where files are not seen, they are hidden from it."""
    if not there:
        monkeypatch.setattr(shared_places, "_fault", lambda sign: "")
    reported = unreachable_places(spark, [Place.of(tmp_path / "lake")], 4)
    assert bool(reported) is not there
    assert all(f"{tmp_path}/lake: the folder is not shared with" in line for line in reported)
    assert list(tmp_path.iterdir()) == [], "the mark is gone"


def test_a_file_a_read_only_folder_and_a_url_are_looked_at_and_nothing_is_written_there(
    spark: SparkSession, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.jsonl"
    log.write_text("{}")
    files.write(Place.of(f"{bucket}/logs/a.jsonl"), b"{}")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(PermissionError(13, "read-only")))
    places = [Place.of(log), Place.of(tmp_path), Place.of(f"{bucket}/logs"), Place.of(f"{bucket}/nothing-yet")]
    assert unreachable_places(spark, places, 2) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_tasks_load_no_engine() -> None:
    """Executors have no use for the embedded one, and their archive leaves it out."""
    words = (
        "import sys, pipelines.ingest.resolve.histories, pipelines.ingest.parse.lines, pipelines.news.tokens, "
        "pipelines.packing.tasks, pipelines.packing.shared_output, pipelines.trajectories.events, "
        "pipelines.engine.shared_places;"
        "print(sorted({'pysail', 'matplotlib', 'plotly', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_connect_server_is_asked_too(tmp_path: Path) -> None:
    """In a process of its own: pyspark's functions make frames of one kind of session at a time."""
    words = (
        "import sys\nfrom pipelines.engine.agreement import check_agreement\n"
        "from pipelines.engine.connect import connected_session\nfrom schemas.storage.place import Place\n"
        "check_agreement(connected_session(sys.argv[1]), [Place.of(sys.argv[2]), None])"
    )
    odd = tmp_path / "odd"
    (odd / "numpy-0.1.dist-info").mkdir(parents=True)
    (odd / "numpy-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")
    with connect_server(tmp_path) as url:

        def asked(*first: Path) -> subprocess.CompletedProcess[str]:
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*first, REPOSITORY)))}
            command = [sys.executable, "-c", words, url, str(tmp_path)]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        alike, other = asked(), asked(odd)
    assert alike.returncode == 0, alike.stderr
    assert "numpy is 0.1 here and 1.26.4 on " in other.stderr
