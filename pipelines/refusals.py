"""What Delta refuses, said for the user: which table, which rule or which other run, and what to do."""

from __future__ import annotations

import re

from schemas.errors import ContractError, InputError
from schemas.table import Table

_CHECK = re.compile(r"CHECK constraint (\S+) .* violated by row", re.IGNORECASE)
_NOT_NULL = re.compile(r"NOT NULL constraint violated for column:? (\S+?)[.\s]")
_NO_VERSION = re.compile(r"Cannot time travel Delta table to version (\d+)\. Available versions: \[(\d+), (\d+)\]")
_CONFLICT = re.compile(
    r"\b(?:ConcurrentAppend|ConcurrentDeleteRead|ConcurrentDeleteDelete|ConcurrentTransaction|ConcurrentWrite|"
    r"MetadataChanged|ProtocolChanged|DeltaConcurrentModification|FileAlreadyExists)Exception\b"
    r"|DELTA_(?:CONCURRENT_\w+|METADATA_CHANGED|PROTOCOL_CHANGED|CONSTRAINT_ALREADY_EXISTS)"
)


def refusal(error: Exception, table: Table, path: str) -> InputError | None:
    """The error as the user should read it; None where this is nothing that Delta refused."""
    text = f"{type(error).__name__}: {error}"
    if rule := _CHECK.search(text):
        return _broken(table, path, rule.group(1))
    if column := _NOT_NULL.search(text):
        return ContractError(
            f"{path}: rows without {column.group(1)} were not written: table {table.name} has it in every row "
            "(NOT NULL). Nothing was changed: mend these rows where they come from, and run the job again"
        )
    if _CONFLICT.search(text):
        return conflict(table, path)
    if versions := _NO_VERSION.search(text):
        asked, first, last = versions.groups()
        return InputError(
            f"{path}: version {asked} of table {table.name} cannot be read; {first} to {last} can. ./feedloop maintain "
            "removes what is older than its retention. Name a later --as-of"
        )
    return None


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
