"""Home: a folder for caches, and a name, for a user without one, as in a container that runs under any uid."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path


def ensure_home() -> None:
    """Set HOME, USER and numba's and matplotlib's cache folders where libraries would look for them in vain.

    To be called before libraries load. A home that holds caches stays, though it be read-only: models may lie there.
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
    """What the system's list of users says of this one."""
    try:
        return str(getattr(pwd.getpwuid(os.getuid()), field))
    except KeyError:
        return None


def _own_folder() -> Path:
    """A folder below the temporary one that is this user's alone, the same each time."""
    folder = Path(tempfile.gettempdir(), f"feedloop-home-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    told = folder.lstat()
    if told.st_uid != os.getuid() or told.st_mode & 0o77 or folder.is_symlink():
        return Path(tempfile.mkdtemp(prefix="feedloop-home-"))  # somebody else's: nothing of ours goes there
    return folder
