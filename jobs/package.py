"""Our code -> one zip, so that spark-submit runs a job where there is no clone."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path
from typing import Any

from jobs.config import run

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "pipelines", "trainer", "jobs")
_BEFORE_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold: same code, same bytes


def package(*, out: Path = ROOT / "build") -> dict[str, Any]:
    """Pack the code that Spark's driver and workers need into one zip.

    Args:
        out: folder that gets feedloop.zip
    """
    out.mkdir(parents=True, exist_ok=True)
    archive = out / "feedloop.zip"
    unfinished = archive.with_suffix(".zip.new")
    names = sorted(source_files(ROOT))
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            entry = zipfile.ZipInfo(name, _BEFORE_TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, (ROOT / name).read_bytes(), zipfile.ZIP_DEFLATED)
    unfinished.replace(archive)
    jars = sorted((ROOT / "build" / "jars").glob("*.jar"))
    return {
        "zip": str(archive),
        "files": len(names),
        "submit": submit_command(archive, jars, ROOT / "jobs" / "ingest.py"),
    }


def source_files(root: Path) -> list[str]:
    """The Python files and presets of our packages, as paths below `root`."""
    kinds = {".py", ".toml"}
    found = (path for name in PACKAGES for path in (root / name).rglob("*") if path.suffix in kinds)
    return [path.relative_to(root).as_posix() for path in found]


def submit_command(archive: Path, jars: list[Path], job: Path) -> str:
    """The spark-submit command line of one job; its own options follow."""
    words = ["spark-submit", "--py-files", str(archive)]
    words += ["--jars", ",".join(map(str, jars))] if jars else []
    return shlex.join([*words, str(job)])


if __name__ == "__main__":
    raise SystemExit(run(package))
