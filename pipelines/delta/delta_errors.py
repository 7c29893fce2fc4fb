"""Translates Delta's errors for users: which table, which rule or which other run, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame

from pipelines.session import SPARK_ERRORS
from schemas.errors import ContractError, InputError
from schemas.table import Table

_CHECK = re.compile(r"CHECK constraint (\S+) .* violated by row", re.IGNORECASE)
_NOT_NULL = re.compile(r"NOT NULL constraint violated for column:? (\S+?)[.\s]")
_CONFLICT = re.compile(
    r"\b(?:ConcurrentAppend|ConcurrentDeleteRead|ConcurrentDeleteDelete|ConcurrentTransaction|ConcurrentWrite|"
    r"MetadataChanged|ProtocolChanged|DeltaConcurrentModification|FileAlreadyExists)Exception\b"
    r"|DELTA_(?:CONCURRENT_\w+|METADATA_CHANGED|PROTOCOL_CHANGED|CONSTRAINT_ALREADY_EXISTS)"
    r"|^(?:CommitFailedError|TableAlreadyExistsError)"  # delta-rs
)
_OTHER_TIMES = re.compile(r"Cannot cast column '(\w+)' from 'Timestamp\(\S+\)' \(physical\)")


class NullError(ValueError):
    """A row has no value in a column that its table requires."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column} has a null")
        self.column = column


class RuleError(ValueError):
    """A row breaks a rule of its table."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"a row breaks the rule {rule}")
        self.rule = rule


def broken_rule(rows: DataFrame, rules: Mapping[str, str]) -> str | None:
    """The name of the first of these rules (name -> SQL) that is not true for some row; None where all hold."""
    return next((name for name, sql in rules.items() if not rows.where(f"NOT coalesce({sql}, false)").isEmpty()), None)


@contextmanager
def explained(table: Table, path: str) -> Iterator[None]:
    """Inside, errors of Delta about the table are raised as InputError with the table's name and what to do."""
    try:
        yield
    except (*SPARK_ERRORS, DeltaError, NullError, RuleError) as error:
        explanation = _explanation(error, table, path)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(error: Exception, table: Table, path: str) -> InputError | None:
    """The error for the user; None for an error of any other kind."""
    text = f"{type(error).__name__}: {error}"
    rule = error.rule if isinstance(error, RuleError) else _first(_CHECK, text)
    if rule is not None:
        return _broken(table, path, rule)
    column = error.column if isinstance(error, NullError) else _first(_NOT_NULL, text)
    if column is not None:
        return ContractError(
            f"{path}: rows without {column} were not written: table {table.name} has it in every row "
            "(NOT NULL). Nothing was changed: mend these rows where they come from, and run the job again"
        )
    if _CONFLICT.search(text):
        return conflict(table, path)
    if column := _first(_OTHER_TIMES, text):
        return InputError(
            f"{path}: its column {column} holds times as an older feedloop wrote them by Spark, which the embedded "
            "engine cannot read. Add --engine spark, or make this lake again"
        )
    return None


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else found.group(1)


def conflict(table: Table, path: str) -> InputError:
    """The error for a run whose write lost against another run's simultaneous one."""
    return InputError(
        f"{path}: another run wrote table {table.name} at the same time. Nothing was lost: run this again"
    )


def _broken(table: Table, path: str, rule: str) -> InputError:
    sql = {check.name: check.sql for check in table.checks}.get(rule, "")
    return ContractError(
        f"{path}: rows that break the rule {rule} of table {table.name} were not written"
        + (f" ({sql})" if sql else "")
        + ". Nothing was changed: mend these rows where they come from, and run the job again"
    )
