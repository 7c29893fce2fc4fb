"""Forgets users: takes every row of theirs out of the lake, keeps their lines out, names what was made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jobs.config import run
from pipelines.engine.choice import EngineConfig, session_for
from pipelines.forget.asked import LARGEST_FILE, users_asked
from pipelines.forget.flow import forget_users
from pipelines.ingest.privacy import given_user_key
from pipelines.session import plain_errors
from pipelines.tables import Lake
from schemas.errors import InputError
from schemas.regular_file import read_bytes


def forget(
    *,
    lake: str,
    user_file: Path,
    user_key_file: Path | None = None,
    vacuum_now: bool = False,
    engine: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Forget users."""
    asked = users_asked(read_bytes(user_file, largest=LARGEST_FILE, advice="", error=InputError), str(user_file))
    key = given_user_key(user_key_file, os.environ.get("FEEDLOOP_USER_KEY"))
    with plain_errors():
        tables = Lake(session_for("feedloop forget", engine), lake)
        return forget_users(tables, asked, key=key, at_once=vacuum_now)


if __name__ == "__main__":
    raise SystemExit(run(forget))
