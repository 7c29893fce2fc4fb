"""Describes what was made of the lake's rows and may hold forgotten users: one line each of forget's report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql import functions as F

from pipelines.lake.suppression import Suppressed
from pipelines.lake.tables import Lake
from schemas.erasure import ERASURES
from schemas.storage.files import is_folder
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES

MADE_OF = (TRAJECTORIES, EVALUATION)  # what packed directories, checkpoints and exports are made of


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Something that holds, or was made of, rows of forgotten users."""

    path: str
    kind: str  # packed directory, checkpoint, export, page, file
    reason: str
    done: str = ""  # what forget did about it; "": nothing, the owner has to act


@dataclass(frozen=True, slots=True)
class Past:
    """The forgotten users: their hashes, and the last table versions that held their rows."""

    who: Suppressed
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (source, table): the last version with rows
    table_ids: Mapping[str, str] = field(default_factory=dict)

    def made_before(self, source: str | None, inputs: Mapping[str, int]) -> str | None:
        """Why something made of these table versions holds forgotten users; None where it does not. No source: any."""
        for (of, table), last in sorted(self.held.items()):
            if (source is None or of == source) and inputs.get(table, last + 1) <= last:
                return f"made of version {inputs[table]} of {table}, which held rows of forgotten users up to {last}"
        return None


def past_of(lake: Lake, who: Suppressed) -> Past:
    """The lake's record of its forgotten users."""
    held: dict[tuple[str, str], int] = {}
    if lake.exists(ERASURES):
        last = F.max("version_before").alias("last")
        erased = lake.read(ERASURES).where("rows_erased > 0").groupBy("source", "table_name").agg(last)
        names = {table.name for table in MADE_OF}
        held = {(row[0], row[1]): row["last"] for row in erased.collect() if row[1] in names}
    return Past(who, held, {table.name: lake.table_id(table) for table in MADE_OF if lake.exists(table)})


def folder_of(place: Place) -> Place:
    """The folder that an option names; FileNotFoundError where it does not exist."""
    if not is_folder(place):
        raise FileNotFoundError(f"{place}: there is no such folder")
    return Place.of(place.path) if place.is_local else place
