"""Builds the page sections on the time of each stage, the options, the versions and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.page.charts import Row, bars
from jobs.page.facts import Facts
from jobs.page.parts import Chart, Section, Table, percent, seconds


def stages(facts: Facts) -> Section | None:
    """The section on seconds of each stage, the slowest first."""
    found = sorted(facts.parts.get("stages", {}).items(), key=lambda pair: -pair[1])
    if not found:
        return None
    total = sum(spent for _, spent in found)
    shown = [(name, spent) for name, spent in found if spent >= 0.005 * total]
    caption = f"{found[0][0]} took longest, {percent(found[0][1] / total)} of {seconds(total)} in all."
    chart = Chart(
        key="stages",
        title="Seconds of each stage",
        caption=caption[0].upper() + caption[1:],
        plot=bars([Row(label=name, value=spent, caption=seconds(spent)) for name, spent in shown]),
        table=Table(columns=("stage", "time", "share"), rows=[(n, seconds(s), percent(s / total)) for n, s in found]),
        shape="wide",
    )
    return Section(key="stages", title="Slowest stages", charts=[chart])


def setting(facts: Facts) -> Section:
    """The section on options, versions, tables and machine."""
    own = (
        "" if not facts.about_is_local else "The run has no about.json: the versions and machine below wrote this page."
    )
    tables = [*_changed(facts), *_versions(facts), *_tables(facts), *_options(facts)]
    return Section(key="setting", title="Config, versions, machine", notes=[own] if own else [], tables=tables)


def _changed(facts: Facts) -> Iterator[Table]:
    """Options that differ from the defaults stored with the run; none if it has no stored defaults."""
    usual = facts.about.get("defaults", {})
    rows = [
        (f"{part}.{name}", _text(facts.config[part][name]), _text(default))
        for part, options in usual.items()
        for name, default in options.items()
        if name in facts.config.get(part, {}) and _text(facts.config[part][name]) != _text(default)
    ]
    if rows:
        yield Table(
            title="Options that are not the default", columns=("option", "here", "default"), rows=rows, open=True
        )


def _options(facts: Facts) -> Iterator[Table]:
    for part, options in facts.config.items():
        rows = [(name, _text(value)) for name, value in options.items()]
        default = facts.about.get("defaults", {}).get(part, {})
        strong = frozenset(
            at for at, (name, value) in enumerate(rows) if value != _text(default.get(name, options[name]))
        )
        yield Table(title=f"All options of {part}", columns=("option", "value"), rows=rows, strong=strong)


def _versions(facts: Facts) -> Iterator[Table]:
    about, machine = facts.about, facts.about.get("machine", {})
    labels = {"cores": "cores", "memory_gib": "memory, GiB", "architecture": "processor", "system": "system"}
    rows = [("trained on", str(about["device"]))] if about.get("device") else []
    rows += [("multiplied in", str(about["precision"]))] if about.get("precision") else []
    rows += [(label, str(machine[name])) for name, label in labels.items() if name in machine]
    yield Table(title="Machine", columns=("", ""), rows=rows, open=True)
    rows = [("git commit", str(about["commit"]))] if about.get("commit") else []
    rows += [(name, str(version)) for name, version in about.get("versions", {}).items()]
    yield Table(title="Versions", columns=("", ""), rows=rows, open=True)


def _tables(facts: Facts) -> Iterator[Table]:
    """Versions of the Delta tables: those that were packed, and those that the demo's other jobs wrote."""
    written = [facts.parts.get(part, {}).get("outputs") or {} for part in ("ingest", "news", "trajectories")]
    versions = {name: version for outputs in written for name, version in outputs.items()}
    versions |= dict(facts.manifest.inputs) if facts.manifest else {}
    rows = [(name, str(version)) for name, version in sorted(versions.items())]
    if rows:
        yield Table(title="Delta tables", columns=("table", "version"), rows=rows, open=True)
    if facts.manifest is not None:
        packed = (("directory", str(facts.parts["pack"]["out"])), ("made at", facts.manifest.created_at),
                  ("sha256 of its manifest", facts.manifest_sha256))  # fmt: skip
        yield Table(title="Packed directory", columns=("", ""), rows=packed)


def _text(value: Any) -> str:
    """A value much as in TOML; tuples and lists, which JSON does not distinguish, look the same."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
