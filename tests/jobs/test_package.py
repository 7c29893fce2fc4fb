"""The zip for spark-submit: whole, the same each time, and enough to import our packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from jobs.package import PACKAGES, package
from tests.conftest import REPOSITORY


def test_the_zip_holds_every_module_of_the_four_packages(tmp_path: Path) -> None:
    summary = package(out=tmp_path)
    with zipfile.ZipFile(summary["zip"]) as packed:
        held = {name for name in packed.namelist() if name.endswith(".py")}
    on_disk = {p.relative_to(REPOSITORY).as_posix() for name in PACKAGES for p in (REPOSITORY / name).rglob("*.py")}
    assert held == on_disk
    assert len(held) > 30


def test_the_same_code_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = package(out=tmp_path / "a"), package(out=tmp_path / "b")
    assert Path(first["zip"]).read_bytes() == Path(second["zip"]).read_bytes()


def test_the_submit_line_names_the_zip_and_the_job(tmp_path: Path) -> None:
    words = package(out=tmp_path)["submit"].split()
    assert words[:3] == ["spark-submit", "--py-files", str(tmp_path / "feedloop.zip")]
    assert words[-1] == str(REPOSITORY / "jobs" / "ingest.py")


def test_a_job_file_run_as_a_script_finds_our_packages_in_the_zip(tmp_path: Path) -> None:
    """As under spark-submit: the script's own folder comes first on the path, the clone is nowhere on it."""
    archive = package(out=tmp_path)["zip"]
    script = tmp_path / "jobs" / "probe.py"
    script.parent.mkdir()
    script.write_text(
        "import jobs.config, pipelines.ingest, schemas.table, trainer\n"
        "print(jobs.config.__file__, schemas.table.__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": archive},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [f"{archive}/jobs/config.py", f"{archive}/schemas/table.py"]
