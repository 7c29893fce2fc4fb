"""The ways to read a superblock; all of them give the same arrays in the same order."""

from __future__ import annotations

from typing import Literal

from trainer.data.petastorm_reader import petastorm_superblocks
from trainer.data.reader import Backend, arrow_superblocks

BackendName = Literal["petastorm", "arrow"]

BACKENDS: dict[BackendName, Backend] = {"petastorm": petastorm_superblocks, "arrow": arrow_superblocks}
