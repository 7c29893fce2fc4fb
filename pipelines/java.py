"""Adapts the JVM of a local session to its machine, user and locale, and reports how it ended."""

from __future__ import annotations

import locale
import logging
import os
import pwd
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from pyspark import SparkContext

from schemas.errors import InputError

_GIB = 1 << 30
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers
_JVM = {  # the first compiler alone starts a short job faster; the second makes a long one faster
    # The first compiler alone has room for 48 MB of code, which all stages in one session fill.
    "short": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m",
    "long": "-XX:+UseParallelGC",
}
_PATIENCE = 10  # seconds for a JVM whose connection broke to be seen as ended


def driver_settings(jvm: str, scratch: Path) -> dict[str, str]:
    """Settings of the JVM, driver and worker at once, that are fixed at its start: memory, compiler and folders."""
    kind = os.environ.get("FEEDLOOP_JVM", jvm)
    if kind not in _JVM:
        raise InputError(f"FEEDLOOP_JVM is {kind!r}: use one of {', '.join(_JVM)}, or unset it")
    memory = os.environ.get("FEEDLOOP_DRIVER_MEMORY") or f"{min(max(_machine_bytes() // 4 // _GIB, 2), 8)}g"
    if not re.fullmatch(r"[1-9]\d*[mg]", memory):
        raise InputError(f"FEEDLOOP_DRIVER_MEMORY is {memory!r}: give it in GB or MB, such as 6g or 1500m, or unset it")
    options = f"{_JVM[kind]} -Duser.timezone=UTC"
    if _user_has_no_name():  # Java then takes ? for the home
        options += f" -Duser.home={scratch}"
    return {
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": options,
        "spark.jars.ivy": str(scratch / "ivy"),  # else below a home that may not be there, or be read-only
    }


def speak_utf8() -> None:
    """Make child processes use UTF-8 file names: under LC_ALL=C, Java knows only ASCII names."""
    if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
        os.environ["LC_ALL"] = "C.UTF-8"


def name_user(gateway: Any) -> None:
    """Give Hadoop a user name where the system has none for this user, as in containers of any uid."""
    if _user_has_no_name():
        users = gateway.jvm.org.apache.hadoop.security.UserGroupInformation
        users.setLoginUser(users.createRemoteUser(f"uid{os.getuid()}"))


def quiet_gateway() -> None:
    """Stop py4j from logging errors that it also raises: its traceback would precede our message."""
    logging.getLogger("py4j").addHandler(logging.NullHandler())
    logging.getLogger("py4j").propagate = False


def how_java_ended(*, wait: bool) -> str | None:
    """How the JVM that this process started has ended; None while it runs. `wait`: its connection is broken."""
    process: subprocess.Popen[bytes] | None = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return None
    try:
        code = process.wait(_PATIENCE if wait else 0)
    except subprocess.TimeoutExpired:
        return None
    return f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _user_has_no_name() -> bool:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return True
    return False


def _machine_bytes() -> int:
    """The memory of this machine, or of its container."""
    limits = [Path(file).read_text().strip() for file in _MEMORY_LIMITS if Path(file).is_file()]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in limits if limit.isdecimal())])
