"""An independent reader of a prediction file: is it what MIND's site takes for this log?"""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

_LINE = re.compile(r"(\S+) \[(\d+(?:,\d+)*)\]")


def complaints(predictions: Path, behaviours: Path) -> list[str]:
    """Faults of the file and the .zip next to it, compared with the raw log (.tsv or .tsv.gz); empty if none."""
    opened = gzip.open if behaviours.suffix == ".gz" else open
    with opened(behaviours, "rt", encoding="utf-8") as stream:
        fields = [line.rstrip("\n").split("\t") for line in stream]
    candidates = {line[0]: len(line[4].split()) for line in fields}
    assert len(candidates) == len(fields), "the log itself uses an id twice"
    text = predictions.read_text()
    found, wrong = {}, []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if not match:
            wrong.append(f"line {number}: {line[:40]!r}")
            continue
        name, ranks = match[1], [int(rank) for rank in match[2].split(",")]
        if name in found:
            wrong.append(f"line {number}: {name} again")
        found[name] = number
        if sorted(ranks) != list(range(1, candidates.get(name, -1) + 1)):
            wrong.append(f"line {number}: no permutation of {name}'s {candidates.get(name)} candidates")
    wrong += [f"no line for {name}" for name in candidates if name not in found]
    numbers = [int(name) for name in found if name.isdecimal()]
    if numbers != sorted(numbers):
        wrong.append("ids out of order")
    for suffix, name in ((".zip", "prediction.txt"), (".ebnerd.zip", "predictions.txt")):  # MIND's site, EB-NeRD's
        with zipfile.ZipFile(predictions.with_suffix(suffix)) as packed:
            if packed.namelist() != [name] or packed.read(name).decode() != text:
                wrong.append(f"the {suffix} holds something else")
    return wrong
