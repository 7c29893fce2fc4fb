"""Builds the page section on the input: lines of the logs and their outcome, the news, the targets."""

from __future__ import annotations

from typing import Any

from jobs.page import labels
from jobs.page.charts import Row, bars
from jobs.page.facts import Facts
from jobs.page.parts import Chart, Section, Table, Tile, integer, percent, plural

_ENDS = (("impressions", "main"), ("merged", "rival"), ("rejected", "other"))


def input_section(facts: Facts) -> Section | None:
    """The section from log lines to targets; None if no figure of it is known."""
    parts = facts.parts
    ingest = parts.get("ingest")
    tiles = [*_news_tiles(parts.get("news")), *_target_tiles(parts.get("pack"), parts.get("trajectories"))]
    if ingest is None and not tiles:
        return None
    return Section(
        key="logs",
        title="Input",
        caption=balance(ingest) if ingest else "",
        tiles=tiles,
        charts=_charts(ingest) if ingest else (),
    )


def balance(ingest: dict[str, Any]) -> str:
    """One sentence with the counts of ingest and whether they balance."""
    sides = ingest["lines"], ingest["impressions"] + ingest["merged"] + ingest["rejected"]
    verdict = "✓ No line is lost." if sides[0] == sides[1] else f"✗ The right side sums to {integer(sides[1])}."
    return (
        f"{integer(sides[0])} lines in = {integer(ingest['impressions'])} impressions"
        f" + {integer(ingest['merged'])} merged + {integer(ingest['rejected'])} rejected. {verdict}"
    )


def _charts(ingest: dict[str, Any]) -> list[Chart]:
    lines = max(1, ingest["lines"])
    labels_of = {"impressions": "new impressions", "merged": "merged into one already known", "rejected": "rejected"}
    rows = [(labels_of[name], ingest[name], role) for name, role in _ENDS]
    charts = [
        _counted("ends", "Outcome of the log lines", _shares(ingest), rows, lines),
    ]
    reasons = sorted(ingest.get("rejected_by_reason", {}).items(), key=lambda pair: (-pair[1], pair[0]))
    refused = [(name, count, "other") for name, count in reasons if count]
    if refused:
        text = "Each is stored in the table rejects with its reason, file and position."
        charts.append(_counted("rejected", "Rejected, by reason", text, refused, ingest["rejected"]))
    merged = [(labels.MERGED[rule], ingest[rule], "rival") for rule in labels.MERGED if ingest.get(rule)]
    if merged:
        text = "Logs are delivered at least once: these lines report a known impression."
        charts.append(_counted("merged", "Merged, by rule", text, merged, ingest["merged"]))
    return charts


def _shares(ingest: dict[str, Any]) -> str:
    new, merged, rejected = (percent(ingest[name] / max(1, ingest["lines"])) for name, _ in _ENDS)
    return f"{new} report a new impression, {merged} one already known, {rejected} cannot be used."


def _counted(key: str, title: str, caption: str, rows: list[tuple[str, int, str]], total: int) -> Chart:
    shares = [percent(count / max(1, total)) for _, count, _ in rows]
    return Chart(
        key=key,
        title=title,
        caption=caption,
        shape="tall" if len(rows) > 5 else "",
        plot=bars([Row(label=label, value=count, caption=integer(count), role=role) for label, count, role in rows]),
        table=Table(
            columns=("", "lines", "share"),
            rows=[(label, integer(count), share) for (label, count, _), share in zip(rows, shares, strict=True)],
        ),
    )


def _news_tiles(news: dict[str, Any] | None) -> list[Tile]:
    if news is None:
        return []
    tiles = [Tile(label="News items", value=integer(news["items"]), caption=_folded(news))]
    full, kept = news.get("full_tokens"), news.get("tokens")
    if full and kept:
        caption = f"of {integer(full)} in all text, {percent(kept / full)}"
        tiles.append(Tile(label="Tokens kept", value=integer(kept), caption=caption))
    elif full:
        tiles.append(Tile(label="Tokens of all text", value=integer(full)))
    return tiles


def _folded(news: dict[str, Any]) -> str:
    folded = news.get("folded_items", 0)
    return f"{integer(folded)} with the text of another, encoded as one" if folded else "no two with the same text"


def _target_tiles(pack: dict[str, Any] | None, trajectories: dict[str, Any] | None) -> list[Tile]:
    if pack is None:
        return []
    users = f"of {plural(trajectories['users'], 'user')}, " if trajectories and "users" in trajectories else ""
    from_day = (trajectories or {}).get("evaluate_from")
    tiles = [
        Tile(
            label="Trajectories",
            value=integer(pack["trajectories"]),
            caption=f"{users}{integer(pack['clicks'])} clicks in all",
        ),
        Tile(label="Clicks to predict", value=integer(pack["targets"]), caption="targets, each with its candidates"),
    ]
    if "evaluation_impressions" in pack:
        caption = f"from {from_day} on, never trained on" if from_day else "later than all training data"
        tiles.append(Tile(label="Kept for evaluation", value=integer(pack["evaluation_impressions"]), caption=caption))
    return tiles
