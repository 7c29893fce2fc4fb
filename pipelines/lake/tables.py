"""Reads and writes the lake's contract tables as Delta; the only module that knows their paths and formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines.delta import table_ddl
from pipelines.delta.commits import Changes, Commit, Mark, is_replay, latest_commits
from pipelines.delta.delta_errors import explained
from pipelines.delta.log import Snapshot, is_table, open_table, snapshot
from pipelines.delta.merge import Merge
from pipelines.delta.reading import delta_frame
from pipelines.engine.commit_check import check_commits
from pipelines.engine.data_files import Staged
from pipelines.engine.one_machine import on_one_machine
from pipelines.engine.scratch import Keep, scratch
from pipelines.engine.writer import writer_of
from pipelines.lake import locks, versions
from pipelines.lake.named_tables import lake_location, registrar
from pipelines.lake.root import lake_root
from schemas.errors import InputError
from schemas.storage.place import Place
from schemas.table import Table

SCRATCH = "_scratch"  # below the lake, of sessions on several machines; Spark and Delta pass over such names
_UNMARKED = Mark()
_NOTE = "feedloop."  # prefix of our own table properties


class Lake:
    """The Delta tables below one root: a folder, a URL or a schema's LOCATION. `pinned`: tables at old versions."""

    def __init__(
        self, spark: SparkSession, root: str | Path | Place, *, pinned: Mapping[str, int] | None = None
    ) -> None:
        self.spark = spark
        self.root = lake_root(lake_location(spark, root))
        self._register = registrar(spark, root)
        check_commits(spark, self.root)
        self._pinned = None if pinned is None else dict(pinned)
        self._writer = writer_of(spark)

    def path(self, table: Table) -> str:
        """The table's path or URL."""
        return f"{self.root}/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table exists."""
        there = self._pinned is None or table.name in self._pinned
        return there and is_table(self.path(table))

    def version(self, table: Table) -> int:
        """The table's current Delta version."""
        return self._snapshot(table).version

    def versions(self, tables: Iterable[Table]) -> dict[str, int]:
        """The current versions of those of the tables that exist, by name."""
        return {table.name: self.version(table) for table in tables if self.exists(table)}

    def read(self, table: Table, *, version: int | None = None) -> DataFrame:
        """The table's rows, now or as of a version."""
        self._require(table)
        if version is None and self._pinned is not None:
            version = self._pinned[table.name]
        with explained(table, self.path(table)):
            frame = delta_frame(self.spark, self.path(table), version=version)
        return table_ddl.with_contract_columns(frame, table, self.path(table))

    def table_id(self, table: Table) -> str:
        """The unique id that Delta gave the table when it was made."""
        return self._snapshot(table).id

    def properties(self, table: Table) -> dict[str, str]:
        """The table's properties, Delta's and ours."""
        return self._snapshot(table).properties

    def notes(self, table: Table) -> dict[str, str]:
        """The notes of stages about how the table's rows were made."""
        found = self.properties(table).items()
        return {name.removeprefix(_NOTE): value for name, value in found if name.startswith(_NOTE)}

    def note(self, table: Table, name: str, value: str) -> None:
        """Store a note on the table, in a commit of its own unless it is there already."""
        self.set_properties(table, {_NOTE + name: value})

    def set_properties(self, table: Table, properties: Mapping[str, str]) -> None:
        """Set properties of the table, in a commit of their own unless it has them already."""
        if not properties.items() <= self._snapshot(table).properties.items():
            with explained(table, self.path(table)):
                open_table(self.path(table)).alter.set_table_properties(dict(properties), raise_if_not_exists=False)

    def commits(self, table: Table, *, limit: int = 20) -> list[Commit]:
        """The table's latest commits, newest first, as far as Delta's log still holds them."""
        self._require(table)
        return list(latest_commits(self.path(table), limit))

    def scratch(self) -> AbstractContextManager[Keep]:
        """Inside, frames can be computed once and stored; see engine/scratch.py."""
        return scratch(None if on_one_machine(self.spark) else f"{self.root}/{SCRATCH}")

    def locked(self, stage: str, *, by: str | None = None) -> AbstractContextManager[None]:
        """Inside, this process alone runs the stage of this lake, for the job `by`. InputError where another does."""
        return locks.locked(self.root, stage, by=by)

    def report(self, job: str, *, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> dict[str, Any]:
        """Write below the lake which table versions a job read and wrote; returns them for its summary."""
        used = {"inputs": dict(inputs), "outputs": dict(outputs)}
        versions.write_report(self.root, {"job": job} | used)
        return used

    def as_of(self, pinned: Mapping[str, int]) -> Lake:
        """The lake at these versions, read-only; tables that are not named do not exist in it."""
        return Lake(self.spark, self.root, pinned=pinned)

    def versions_from(self, text: str) -> dict[str, int]:
        """The table versions that `--as-of` names: a versions file that a job wrote, or a time (each table then)."""
        moment = versions.moment_of(text)
        if moment is None:
            return versions.read_report(text)
        return versions.versions_at(self.root, table_ddl.TABLES, moment)

    def create(self, table: Table) -> bool:
        """Create the table, empty, if it is missing, and return whether it was; else bring it up to its contract."""
        assert self._pinned is None, f"table {table.name}: a lake as of old versions is only read"
        new = not self.exists(table)
        with explained(table, self.path(table)):
            if new:
                table_ddl.create_table(table, self.path(table))
            table_ddl.bring_up_to_date(self.spark, table, self.path(table))
        return new

    @contextmanager
    def staged(self, table: Table, frame: DataFrame) -> Iterator[Staged]:
        """Inside, the rows are computed, and `append` can add them without computing them again; no version of the
        table holds them before. Rows that were not appended are removed at the end.
        """
        rows, _ = table_ddl.to_contract(frame, table, keep_others=False)
        with ExitStack() as held:
            held.enter_context(table_ddl.removed_on_failure(self.create(table), self.path(table)))
            keep = held.enter_context(self.scratch())
            with explained(table, self.path(table)):
                staged = held.enter_context(self._writer.staged(table, self.path(table), rows, keep))
            yield staged

    def append(
        self,
        table: Table,
        frame: DataFrame | Staged,
        *,
        app_id: str,
        app_version: int,
        note: Mapping[str, Any] | None = None,
        evolve: bool = False,
        times: DataFrame | None = None,
    ) -> int:
        """Add rows once and return their number: a second call with the same or a smaller version of `app_id` adds 0.

        `evolve`: columns of the frame beyond the contract become columns of the table, null in its older rows.
        `times`: for a table that is ordered by time, a frame with that column for at least these rows that is cheaper
        to count than the rows; by it the rows are divided among files.
        """
        rows = table_ddl.to_contract(frame, table, keep_others=evolve)[0] if isinstance(frame, DataFrame) else frame
        with self._made(table):
            return self._append(table, rows, Mark(app_id, app_version, note), times)

    def _append(self, table: Table, rows: DataFrame | Staged, mark: Mark, times: DataFrame | None = None) -> int:
        replay = is_replay(self.path(table), mark)
        return 0 if replay else self._writer.append(table, self.path(table), rows, mark, times)

    def overwrite(
        self,
        table: Table,
        frame: DataFrame,
        *,
        where: str | None = None,
        note: Mapping[str, Any] | None = None,
        evolve: bool = False,
    ) -> None:
        """Replace all rows, or those for which `where` holds, in one commit; `evolve` as in `append`."""
        rows, _ = table_ddl.to_contract(frame, table, keep_others=evolve)
        with self._made(table):
            self._writer.overwrite(table, self.path(table), rows, where, Mark(note=note))

    def merge(
        self,
        table: Table,
        frame: DataFrame,
        *,
        set_on_match: Mapping[str, str],
        mark: Mark = _UNMARKED,
        update_when: str | None = None,
        where: str | None = None,
    ) -> Changes:
        """MERGE by the table's key: update what matches, insert the rest; returns what the commit changed.

        Expressions name `stored.x` and `incoming.x`, also columns of `frame` beyond the contract. A row whose key is
        new is always inserted. With an app_id in its `mark` the MERGE happens once; without, a replay must change
        nothing by itself. `where`, with literals, limits the stored rows that can match: Delta reads only their files.
        """
        rows, _ = table_ddl.to_contract(frame, table, keep_others=True)
        values, when = table.column_names, {"update_when": update_when, "where": where}
        with self._made(table) as new:
            if new:  # nothing can match: the same rows at half the price
                return Changes(self._append(table, rows.select(*values), mark))
            how = Merge(key=table.key, values=values, set_on_match=set_on_match, **when)
            replay = is_replay(self.path(table), mark)
            return Changes() if replay else self._writer.merge(table, self.path(table), rows, how, mark)

    def change(self, table: Table, frame: DataFrame, *, where: str, mark: Mark = _UNMARKED) -> Changes:
        """Replace or delete stored rows in one commit, and insert none: Delta does this without sorting the table.

        Each row of `frame` has the new row's columns, whose key may differ, a struct `old` with the stored row's key,
        and `gone`: whether to delete the stored row instead. `where` as in `merge`. The frame is counted first: it
        should be stored already, or cheap.
        """
        rows, _ = table_ddl.to_contract(frame, table, keep_others=True)
        with self._made(table):
            replay = is_replay(self.path(table), mark)
            return Changes() if replay else self._writer.change(table, self.path(table), rows, where, mark)

    def _snapshot(self, table: Table) -> Snapshot:
        self._require(table)
        version = None if self._pinned is None else self._pinned[table.name]
        with explained(table, self.path(table)):
            return snapshot(self.path(table), version=version)

    def _require(self, table: Table) -> None:
        if self.exists(table):
            return
        if self._pinned is not None:
            raise InputError(
                f"{self.path(table)}: --as-of names no version of table {table.name}, only of {sorted(self._pinned)}. "
                "Name the versions file of a job that read or wrote it, or a time"
            )
        raise InputError(
            f"{self.path(table)}: no table {table.name} there. Make it with ./feedloop {table_ddl.job_of(table)}"
        )

    @contextmanager
    def _made(self, table: Table) -> Iterator[bool]:
        """Inside, the table exists as its contract asks; gives whether it is new. A failed first write removes it."""
        path = self.path(table)
        with table_ddl.removed_on_failure(self.create(table), path) as new, explained(table, path):
            yield new
        self._register(table, path)
