"""Makes the table of FAMILIES.md: which options of a run each family of language models supports."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import InputError
from tests.packed import VOCABULARY
from tests.trainer.model.families import FAMILIES, saved
from trainer.exact.scene import random_tokens
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.setup.encoder_trial import TrialRequest, try_encoder

FILE = Path(__file__).parents[3] / "FAMILIES.md"
COMMAND = ".venv/bin/python -m tests.trainer.model.family_table"
TOKENS = 10

CHEAP: dict[str, dict[str, Any]] = {
    "all layers trained": {},
    "frozen_layers": {"frozen_layers": 1},
    "bus": {"bus": True},
    "row_tokens": {"row_tokens": 32},
    "frozen_layers, bus, row_tokens": {"frozen_layers": 1, "bus": True, "row_tokens": 32},
    "bfloat16": {"half": True},
}
COMPILED: dict[str, dict[str, Any]] = {"compile": {"compiled": True}}
COLUMNS = {**CHEAP, **COMPILED}

HEAD = f"""# Families of language models

Each row is a family that `--encoder.plm` may name; each column is a feature that a run may ask of it. *yes*: the family
gives the output of its own library, and trains. *no*: the run is refused before its first step, with the reason and the
option to change. Families outside this list are tried too: every run starts with a trial of its language model on a few
of its own items.

*segment*: how the hidden states of a segment become its vector: a learned mean over its tokens or, for decoders, the
last token. Encoder-decoders (BART, T5) use the encoder, models of texts and images (CLIP) the text model.

`{COMMAND}` makes this table from small random models of each family;
`tests/trainer/setup/test_encoder_trial.py` fails where it is out of date.

"""


@dataclass(frozen=True, slots=True)
class Found:
    """Whether one family supports one feature: `refused` is "" or the reason why not."""

    refused: str
    causal: bool | None = None


def tried(plm: str, **asked: Any) -> Found:
    """Return the result of the trial of the language model in the folder `plm`."""
    options = {name: value for name, value in asked.items() if name not in {"half", "compiled"}}
    config = TextEncoderConfig(**{"plm": plm, "frozen_layers": 0, "vector_width": 8, "pooling_width": 8, **options})
    table = random_tokens(np.random.default_rng(1), 12, vocabulary=VOCABULARY)
    rest = {name: asked[name] for name in ("half", "compiled") if name in asked}
    try:
        encoder = TextEncoder(config)
        try_encoder(encoder, TrialRequest(encoder=config, tokens_per_segment=TOKENS, **rest), table, np.arange(1, 13))
    except InputError as error:
        return Found(str(error))
    return Found("", encoder.split.causal)


def row_of(name: str, folder: Path, columns: dict[str, dict[str, Any]]) -> dict[str, Found]:
    """Return the results of one family in the given columns."""
    plm = saved(name, folder)
    return {column: tried(plm, **asked) for column, asked in columns.items()}


def cells(name: str, found: dict[str, Found]) -> str:
    """Return one line of the table."""
    causal = next((each.causal for each in found.values() if each.causal is not None), None)
    segment = "" if causal is None else "last token" if causal else "mean"
    return f"| {name} | {segment} | {' | '.join('no' if each.refused else 'yes' for each in found.values())} |"


def in_file() -> dict[str, dict[str, str]]:
    """Read the table in FAMILIES.md: family -> column -> cell."""
    lines = [line.strip("| \n").split(" | ") for line in FILE.read_text().splitlines() if line.startswith("| ")]
    head, *rows = [line for line in lines if not line[0].startswith("-")]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def full_table() -> str:
    """The text of FAMILIES.md, made again: takes some minutes, mostly for the compiler."""
    lines = [f"| family | segment | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(cells(name, row_of(name, Path(folder), COLUMNS)))
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(full_table())
