"""Our code -> the files that spark-submit needs without a clone: one zip, the job scripts, the jars, the presets."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

from jobs.cli.command_line import run
from jobs.cluster.environment import pack_environment
from jobs.cluster.submit_commands import Parts, guide, submit_commands
from pipelines.engine.s3 import LOG_STORE_JAR
from pipelines.news.tokenizer_file import PACKAGED, default_tokenizer_file
from schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "pipelines", "trainer", "jobs")
SPARK_JOBS = ("ingest", "prepare_news", "build_trajectories", "pack", "maintain")
_BEFORE_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold: same code, same bytes


def package(
    *,
    out: Path = ROOT / "build" / "spark",
    cluster: Literal["standalone", "yarn", "kubernetes", "databricks"] = "standalone",
    environment: bool = False,
) -> dict[str, Any]:
    """Collect the files that Spark's driver and workers need; prints the command line of every Spark job.

    Parameters
    ----------
    out
        Folder for feedloop.zip, the jobs' scripts, jars/, presets/, and SUBMIT.md with the command lines of every kind
        of cluster.
    cluster
        Kind of cluster whose command lines are printed.
    environment
        Also make environment.tar.gz: Python with every package that tasks need, which executors unpack.
    """
    tokenizer = default_tokenizer_file()
    if tokenizer is None:
        raise InputError("the default tokenizer is not installed, and prepare_news needs it. Run ./feedloop setup")
    jars = sorted((ROOT / "build" / "jars").glob("*.jar"))
    if LOG_STORE_JAR not in {jar.name for jar in jars}:
        raise InputError("build/jars lacks the jars of Delta and S3. Run ./feedloop setup, which collects them")
    (out := out.resolve()).mkdir(parents=True, exist_ok=True)
    entries = {name: ROOT / name for name in source_files(ROOT)} | {f"pipelines/news/{PACKAGED}": tokenizer}
    archive = write_zip(out / "feedloop.zip", entries)
    shutil.copytree(ROOT / "jobs" / "presets", out / "presets", dirs_exist_ok=True)
    (out / "jars").mkdir(exist_ok=True)
    copies = [Path(shutil.copy2(jar, out / "jars")) for jar in jars]
    scripts = {job: Path(shutil.copy2(ROOT / "jobs" / f"{job}.py", out)) for job in SPARK_JOBS}
    shutil.copy2(ROOT / "requirements" / "spark.txt", out / "requirements.txt")
    parts = Parts(archive, copies, scripts, pack_environment(ROOT, out) if environment else None)
    (out / "SUBMIT.md").write_text(guide(parts), "utf-8")
    return {"zip": str(archive), "files": len(entries), "submit": submit_commands(cluster, parts)}


def source_files(root: Path) -> list[str]:
    """The Python files of our packages, the presets and the parts of the page, as paths below `root`."""
    kinds = {".py", ".toml", ".j2", ".css", ".js"}
    found = (path for name in PACKAGES for path in (root / name).rglob("*") if path.suffix in kinds)
    return [path.relative_to(root).as_posix() for path in found]


def write_zip(archive: Path, entries: dict[str, Path]) -> Path:
    """The entries as one zip, whose bytes depend only on theirs."""
    unfinished = archive.with_suffix(".zip.new")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(entries):
            entry = zipfile.ZipInfo(name, _BEFORE_TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, entries[name].read_bytes(), zipfile.ZIP_DEFLATED)
    return unfinished.replace(archive)


if __name__ == "__main__":
    raise SystemExit(run(package))
