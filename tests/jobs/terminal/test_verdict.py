from __future__ import annotations

import zipfile
from pathlib import Path

from jobs.terminal.verdict import write_predictions


def test_predictions_are_packed_as_mind_and_eb_nerd_take_them(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mine.txt"
    write_predictions(file, iter(["1 [2,1]", "0 [1]"]))
    assert file.read_text() == "1 [2,1]\n0 [1]\n"
    for name, inside in (("mine.zip", "prediction.txt"), ("mine.ebnerd.zip", "predictions.txt")):
        with zipfile.ZipFile(file.with_name(name)) as packed:
            assert packed.namelist() == [inside]
            assert packed.read(inside).decode() == file.read_text()
