"""On a real cluster whose workers have other code, another numpy or no folder of the driver's, no job begins."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.make_sample import make_sample
from jobs.package import package
from tests.cluster.test_standalone import cluster, submitted

_SAYS = "do not agree, so nothing was read or written"


@pytest.mark.slow
def test_a_job_stops_before_it_writes_and_names_each_difference(tmp_path: Path) -> None:
    make_sample(size="tiny", out=tmp_path / "sample")
    own, odd = tmp_path / "own", tmp_path / "odd"
    own.mkdir()
    shutil.copytree(tmp_path / "sample", own / "sample")
    command = package(out=tmp_path / "package")["submit"]["ingest"].replace("LAKE", "lake")
    archive = tmp_path / "package" / "feedloop.zip"
    on_driver_alone = command.replace(f"--py-files {archive} ", "").replace("LOGS", "sample")
    with_zip = {"PYTHONPATH": str(archive)}
    (odd / "numpy-0.1.dist-info").mkdir(parents=True)
    (odd / "numpy-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")
    shutil.unpack_archive(archive, odd)
    (odd / "schemas" / "errors.py").write_text((odd / "schemas" / "errors.py").read_text() + "# changed\n")
    hidden = own if subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0 else None
    with cluster(tmp_path, hidden=hidden) as url:
        message = refused(on_driver_alone, url, tmp_path, **with_zip)
        assert "feedloop's code is " in message
        assert "not there on " in message

        others = f"--conf spark.executorEnv.PYTHONPATH={odd} "
        message = refused(on_driver_alone.replace("--jars", f"{others}--jars"), url, tmp_path, **with_zip)
        assert "numpy is 1.26.4 here and 0.1 on " in message
        assert "feedloop's code is " in message
        assert "not there" not in message

        missing = (
            f"--conf spark.pyspark.python=./environment/bin/python --conf spark.pyspark.driver.python={sys.executable} "
        )
        message = refused(
            command.replace("--py-files", f"{missing}--py-files").replace("LOGS", "sample"), url, tmp_path
        )
        assert "the executors have no Python at ./environment/bin/python" in message

        if hidden is not None:
            message = refused(command.replace("LOGS", "own/sample"), url, tmp_path)
            assert "own/sample: the folder is not shared with " in message
            assert "sample: the folder" in message
            assert f"{tmp_path}/lake: " not in message
    assert not (tmp_path / "lake").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".feedloop-")]


def refused(command: str, url: str, folder: Path, **environment: str) -> str:
    """What the job says, which stops."""
    said = submitted(command, url, folder, ends=2, **environment)
    assert _SAYS in said, said
    return said
