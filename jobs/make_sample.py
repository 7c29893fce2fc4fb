"""A seeded, synthetic publisher: raw logs and news for all later stages, with the true impressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.cli.command_line import run
from jobs.synthetic.sample import COUNTS_FILE, PUBLISHER_VERSION, write_complete
from jobs.synthetic.sizes import SIZES, SizeName
from schemas.errors import ContractError, InputError
from schemas.regular_file import read_bytes
from schemas.strict_json import decoded

_LONGEST = 1 << 24  # bytes of the counts


def make_sample(
    *, out: Path, size: SizeName = "demo", seed: int = 1, impressions: int | None = None, logs_only: bool = False
) -> dict[str, Any]:
    """Write synthetic news, raw click logs with the faults of real ones, and the true impressions.

    Parameters
    ----------
    out
        Folder to write. It is complete or absent; a folder that already holds this sample is left unchanged.
    size
        Size: tiny for tests, demo for a demonstration, mindsmall as large as MIND-small, million, five_million.
    seed
        The same seed gives the same bytes.
    impressions
        Approximate number of page views instead of the size's own, with users in proportion.
    logs_only
        Write only logs and their counts, without the news and the table of true impressions.
    """
    if size not in SIZES:
        raise InputError(f"size is {size!r}: choose one of {sorted(SIZES)}")
    if seed < 0:
        raise InputError(f"seed is {seed}: use 0 or a positive number")
    if impressions is not None and impressions < 1:
        raise InputError(f"impressions is {impressions}: use a positive number, or leave it out")
    wanted = SIZES[size] if impressions is None else SIZES[size].with_impressions(impressions)
    name = size if impressions is None else f"{size} with {impressions} impressions"
    found = _counts_of(out)
    if found is not None:
        asked = {"publisher_version": PUBLISHER_VERSION, "seed": seed, "size": name, "logs_only": logs_only}
        if any(found.get(key) != value for key, value in asked.items()):
            raise InputError(
                f"{out} exists and holds something else than the sample of size {name} and seed {seed}"
                f"{', logs only' if logs_only else ''}. Name another folder with --out, or remove this one"
            )
        return {"out": str(out), "written": False, **found}
    return {"out": str(out), "written": True, **write_complete(out, wanted, seed, name, logs_only)}


def _counts_of(out: Path) -> dict[str, Any] | None:
    """The counts of the sample at `out`; empty if it holds something else, None if it is missing or empty."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        return decoded(read_bytes(out / COUNTS_FILE, largest=_LONGEST), dict[str, Any], str(out))
    except ContractError:  # it is not the requested sample
        return {}


if __name__ == "__main__":
    raise SystemExit(run(make_sample))
