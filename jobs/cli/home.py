"""Sets a folder for caches and a user name where there is none, as in a container that runs under any uid."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path


def ensure_home() -> None:
    """Set HOME, USER and the cache folders of numba and matplotlib where libraries would not find them.

    Call it before libraries load. A home with caches is kept even if it is read-only: it may hold models.
    """
    home = Path(os.environ.get("HOME") or _known("pw_dir") or "?")
    if not os.access(home, os.W_OK):
        instead = _own_folder()
        if not (home / ".cache").is_dir():
            os.environ["HOME"] = str(instead)
        for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
            os.environ.setdefault(name, str(instead / name.lower()))
    if _known("pw_name") is None:
        os.environ.setdefault("USER", f"uid{os.getuid()}")


def _known(field: str) -> str | None:
    """A field of this user's entry in the password database."""
    try:
        return str(getattr(pwd.getpwuid(os.getuid()), field))
    except KeyError:
        return None


def _own_folder() -> Path:
    """A folder below the temporary one that belongs to this user alone, the same each time."""
    folder = Path(tempfile.gettempdir(), f"feedloop-home-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o77 or folder.is_symlink():
        return Path(tempfile.mkdtemp(prefix="feedloop-home-"))  # it is another user's: do not write there
    return folder
