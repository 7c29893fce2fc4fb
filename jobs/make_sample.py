"""A seeded, synthetic publisher: raw logs and news for everything that follows, the truth beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from jobs.config import run
from jobs.publisher.sample import COUNTS_FILE, PUBLISHER_VERSION, write_sample
from jobs.publisher.sizes import SIZES, SizeName
from schemas.errors import InputError


def make_sample(*, out: Path, size: SizeName = "demo", seed: int = 1) -> dict[str, Any]:
    """Write synthetic news, raw click logs with the faults of real ones, and the truth beside them.

    Parameters
    ----------
    out
        Folder to write. It is complete or absent; one that holds this very sample already is left as it is.
    size
        How much: `tiny` for tests, `demo` for a demonstration.
    seed
        The same seed gives the same bytes.
    """
    if size not in SIZES:
        raise InputError(f"size is {size!r}: choose one of {sorted(SIZES)}")
    if seed < 0:
        raise InputError(f"seed is {seed}: use 0 or a positive number")
    found = _counts_of(out)
    if found is not None:
        wanted = {"publisher_version": PUBLISHER_VERSION, "seed": seed, "size": size}
        if any(found.get(name) != value for name, value in wanted.items()):
            raise InputError(
                f"{out} exists and holds something else than the sample of size {size} and seed {seed}. "
                "Name another folder with --out, or remove this one"
            )
        return {"out": str(out), "written": False, **found}
    return {"out": str(out), "written": True, **_write_whole(out, size, seed)}


def _counts_of(out: Path) -> dict[str, Any] | None:
    """The counts of the sample at `out`, nothing if it holds no sample; None where there is nothing at all."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        counts = json.loads((out / COUNTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return counts if isinstance(counts, dict) else {}


def _write_whole(out: Path, size: SizeName, seed: int) -> dict[str, Any]:
    """Write beside `out` and rename once, so that a run that dies leaves nothing under that name."""
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=parent))
    except OSError as error:
        raise InputError(f"{parent} cannot be written to ({error}). Name another folder with --out") from error
    try:
        partial.chmod(0o755)
        counts = write_sample(partial, size, seed)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return counts


if __name__ == "__main__":
    raise SystemExit(run(make_sample))
