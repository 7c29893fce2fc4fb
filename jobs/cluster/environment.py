"""This Python and the locked packages of a Spark node -> one archive that runs wherever executors unpack it.

A virtual environment is not enough: it links to the Python of one machine. The archive holds the interpreter, its
standard library and the shared libraries of both; of an executor's machine it needs only the C library.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from schemas.errors import InputError

ARCHIVE = "environment.tar.gz"
_LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "dist-packages")
_NOT_FOR_TASKS = (  # Spark has jars of its own where executors run; the rest is for engines and pages
    *("pyspark/jars", "pyspark/examples", "pysail", "matplotlib", "mpl_toolkits", "plotly", "fontTools", "PIL"),
)
_C_LIBRARY = re.compile(r"(libc|libm|libdl|librt|libpthread|libresolv|libutil|libnsl|ld-linux[\w-]*|linux-vdso)\.so")
_DOOR = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/NAME" "$@"
"""
_IMPORT_CHECK = """
import json, sys, deltalake, msgspec, numba, numpy, obstore, pandas, petastorm, pyarrow, pyspark, regex, ssl, tokenizers
maps = open("/proc/self/maps").read().split()
print(json.dumps([sys.prefix, sorted({file for file in maps if file.startswith(sys.argv[1])})]))
"""


def pack_environment(root: Path, out: Path) -> Path:
    """The archive in `out`, made from scratch. `root`: the clone, with the locks and uv.

    InputError where this Python cannot be moved, or a package is not available.
    """
    uv = root / "build" / "uv" / "bin" / "uv"
    if not uv.is_file() or sys.platform != "linux":
        raise InputError("an environment for executors is made on Linux, in a clone that ./feedloop setup has set up")
    folder = out / "environment.new"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        python = _copy_interpreter(folder)
        packages = _output([python, "-c", "import site; print(site.getsitepackages()[0])"])
        locked = ["--require-hashes", "--no-deps", "-r", str(root / "requirements" / "spark.txt")]
        _output([str(uv), "pip", "install", "--quiet", "--python", python, "--target", packages, *locked])
        for name in _NOT_FOR_TASKS:
            shutil.rmtree(Path(packages) / name, ignore_errors=True)
        _try(folder, python)
        return _archived(folder, out / ARCHIVE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_interpreter(folder: Path) -> str:
    """bin/python, which starts the copied interpreter with the copied libraries; its path."""
    name = f"python{sysconfig.get_python_version()}"
    standard = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    left_out = shutil.ignore_patterns("__pycache__", "*.a", "_tkinter*", *_LEFT_OUT)
    shutil.copytree(standard, folder / "lib" / name, ignore=left_out, ignore_dangling_symlinks=True)
    (folder / "bin").mkdir()
    shutil.copy2(os.path.realpath(sys.executable), folder / "bin" / name)
    for library in _libraries(folder):
        shutil.copy2(library, folder / "lib" / library.name)
    python = folder / "bin" / "python"
    python.write_text(_DOOR.replace("NAME", name), "utf-8")
    python.chmod(0o755)
    return str(python)


def _libraries(folder: Path) -> list[Path]:
    """The libraries that the interpreter and its modules link to, except the C library's own."""
    files = [str(path) for path in [*folder.glob("bin/*"), *folder.glob("lib/python*/lib-dynload/*.so")]]
    links = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"=> (/\S+) \(", links)}
    return sorted(path for path in found if not _C_LIBRARY.match(path.name))


def _try(folder: Path, python: str) -> None:
    """InputError unless everything that tasks import comes from the folder and not from this machine's Python."""
    prefix, foreign = json.loads(
        _output([python, "-I", "-c", _IMPORT_CHECK, f"{sys.base_prefix}/lib/"]).splitlines()[-1]
    )
    if Path(prefix).resolve() != folder.resolve() or (foreign and sys.base_prefix != "/usr"):
        raise InputError(
            f"{sys.base_prefix}: this Python does not run from another folder ({[prefix, *foreign][:3]}). Set feedloop "
            "up with another one, such as Debian's, or use deploy/Dockerfile"
        )


def _archived(folder: Path, archive: Path) -> Path:
    def ours(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return None if Path(member.name).name == "__pycache__" else member

    unfinished = archive.with_name(f"{archive.name}.new")
    with tarfile.open(unfinished, "w:gz", compresslevel=3) as packed:
        for path in sorted(folder.iterdir()):
            packed.add(path, path.name, filter=ours)
    return unfinished.replace(archive)


def _output(command: list[str]) -> str:
    """The output of the command. InputError, with its stderr, where it fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, capture_output=True, text=True, env=kept, check=False)
    if done.returncode != 0:
        raise InputError(f"{command[0]}: {done.stderr.strip()[-800:]}. The environment was not made")
    return done.stdout.strip()
