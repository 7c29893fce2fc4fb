"""What Delta refuses, said for the user: which table, which rule or which other run, and what to do."""

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
    """A column of a row has no value, and its table asks for one."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column {column} has a null")
        self.column = column


class RuleError(ValueError):
    """A row breaks a rule of its table."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"a row breaks the rule {rule}")
        self.rule = rule


def broken_rule(rows: DataFrame, rules: Mapping[str, str]) -> str | None:
    """The name of the first of these rules (name -> SQL) that a row breaks: for which it is not true."""
    return next((name for name, sql in rules.items() if not rows.where(f"NOT coalesce({sql}, false)").isEmpty()), None)


@contextmanager
def explained(table: Table, path: str) -> Iterator[None]:
    """Inside, what Delta refuses comes out with the table's name and what to do."""
    try:
        yield
    except (*SPARK_ERRORS, DeltaError, NullError, RuleError) as error:
        refused = refusal(error, table, path)
        if refused is None:
            raise
        raise refused from error


def refusal(error: Exception, table: Table, path: str) -> InputError | None:
    """The error as the user should read it; None where this is nothing that Delta refused."""
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
            "engine cannot read. Add --engine spark, or make this lake anew"
        )
    return None


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else found.group(1)


def conflict(table: Table, path: str) -> InputError:
    """Two runs wrote at once, and this one did not."""
    return InputError(
        f"{path}: another run wrote table {table.name} at the same time. Nothing was lost: run this again"
    )


def _broken(table: Table, path: str, rule: str) -> InputError:
    said = {check.name: check.sql for check in table.checks}.get(rule, "")
    return ContractError(
        f"{path}: rows that break the rule {rule} of table {table.name} were not written"
        + (f" ({said})" if said else "")
        + ". Nothing was changed: mend these rows where they come from, and run the job again"
    )
