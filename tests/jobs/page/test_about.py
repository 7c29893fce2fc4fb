"""about.json stores a run's machine and versions and is read again."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from jobs.page.about import read_about, write_about


def test_a_run_keeps_its_machine_and_versions(tmp_path: Path) -> None:
    assert read_about(tmp_path) == {}
    write_about(tmp_path, {"data": "packed", "stages": {"training": 1.5}})
    found = read_about(tmp_path)
    assert (found["data"], found["stages"]) == ("packed", {"training": 1.5})
    assert found["versions"]["python"] == platform.python_version()
    assert {"feedloop", "torch", "transformers", "deltalake"} <= set(found["versions"])
    assert 1 <= found["machine"]["cores"] <= (os.cpu_count() or 1)
    assert found["machine"]["memory_gib"] > 0.1
    assert found["ended_at"].endswith("+00:00")
