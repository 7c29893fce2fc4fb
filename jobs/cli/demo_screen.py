"""Prints the demo's last screen: what was deduped and encoded once, speed, quality, and where the outputs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.cli.evaluation import paired_line, quality_table


def show(facts: dict[str, Any], out: Path, page: str, console: Console | None = None) -> None:
    """Print the screen; `facts`: what the stages returned, `page`: the path of the HTML page."""
    console = console or Console(highlight=False)
    console.rule("feedloop demo")
    console.print(f"[bold]Data[/bold]     {facts['data']}")
    for line in (*_ingested(facts), *_prepared(facts), *split_lines(facts), *_encoded(facts)):
        console.print(line)
    console.print(_speed_table(facts["speed"]))
    for line in _speed_notes(facts["speed"]):
        console.print(line)
    console.print(quality_table(facts["quality"]))
    for line in _verdicts(facts["quality"]):
        console.print(line)
    if facts.get("reader"):
        console.print(_recommended(facts["reader"]))
    console.print(f"[bold]Outputs[/bold]  lake {out / 'lake'}, batches {facts['pack']['out']},")
    console.print(f"         checkpoint {facts['training']['checkpoint']}, all figures {out / 'summary.json'}")
    console.print(f"[bold]Time[/bold]     {facts['seconds']:.0f} s")
    console.print("[bold]Page[/bold]     all of it with charts, in one file: ", end="")
    console.print(page, soft_wrap=True, markup=False)


def _ingested(facts: dict[str, Any]) -> list[str]:
    counts = facts["ingest"]
    lines = [
        f"[bold]Ingest[/bold]   {counts['lines']:,} lines in = {counts['impressions']:,} impressions"
        f" + {counts['merged']:,} merged + {counts['rejected']:,} rejected"
    ]
    if counts["new_files"] == 0:
        lines = ["[bold]Ingest[/bold]   no new files: the tables are unchanged"]
    reasons = {reason: count for reason, count in counts["rejected_by_reason"].items() if count}
    if reasons:
        lines.append(
            "         rejected: " + ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        )
    return lines


def _prepared(facts: dict[str, Any]) -> list[str]:
    news = facts["news"]
    fresh = news["new_items"] + news["retokenised_items"]
    tokens = f"{fresh:,} of them tokenised now"
    if fresh:
        tokens += f": {news['full_tokens']:,} tokens, {news['tokens']:,} kept"
    folded = f"{news['folded_items']:,} with the text of another"
    return [f"[bold]News[/bold]     {news['items']:,} items, {folded}; {tokens}"]


def split_lines(facts: dict[str, Any]) -> list[str]:
    """Where training ends and evaluation begins, and why; whether negatives are sampled."""
    made = facts["trajectories"]
    begin, by = made["evaluate_from"], made["split_by"]
    share = f"{made['evaluate_share']:.0%}" if by == "share" else ""
    why = {"last_date": "the last date with click marks", "share": f"the latest {share}, for all are of one date"}
    moment = begin.replace("T", " ").replace("Z", " UTC")
    lines = [
        f"[bold]Split[/bold]    impressions before {moment} train, those from then on evaluate ({why.get(by, by)})"
    ]
    if made["negatives"] == "drawn":
        lines.append("         negatives are drawn from each day's clicks: the log lists no unclicked news")
    return lines


def _encoded(facts: dict[str, Any]) -> list[str]:
    packed, training = facts["pack"], facts["training"]
    epochs = training["epochs"]
    naive, once, cached = (
        packed["items_per_target_sample"],
        packed["distinct_items_per_epoch"],
        training["encoded"] / epochs,
    )
    return [
        f"[bold]Encodes[/bold]  per epoch of {packed['targets']:,} targets, {packed['distinct_items']:,} news:",
        f"         {naive:,} one sample per target, {packed['item_occurrences']:,} one pass per user,",
        f"         {once:,} once per packed batch ({naive / once:.1f}x fewer; "
        f"batches dealt out at random would hold {once / facts['batches']['ratio_to_random']:,.0f}),",
        f"         {cached:,.0f} with the cache ({naive / cached:.1f}x fewer; mean of all epochs)",
    ]


def _speed_table(speed: dict[str, dict[str, Any]]) -> Table:
    rounds = min(found["rounds"] for found in speed.values())
    title = f"Speed, same model and frozen store: medians of {rounds} rounds in turns"
    table = Table(title=title, title_justify="left")
    for name in ("policy", "clicks/s", "per core", "speed-up", "encoded", "targets"):  # they fit into 80 columns
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=name == "policy")
    for policy, found in speed.items():
        table.add_row(
            policy,
            f"{found['clicks_per_second']:,.1f}",
            f"{found['clicks_per_processor_second']:,.1f}",
            "cannot tell" if found["speed_up"] is None else f"{found['speed_up']:.1f}",
            f"{found['encoded']:,}",
            f"{found['targets']:,}",
        )
    return table


def _speed_notes(speed: dict[str, dict[str, Any]]) -> list[str]:
    """How the speed-ups are computed, and why one is missing."""
    used = min(found["processors"] for found in speed.values())
    by = "processor seconds" if all(found["speed_up_by"] == "processor" for found in speed.values()) else "wall time"
    lines = [f"         speed-up over naive_per_target by {by} per click; the slowest had {used:.1f} cores"]
    for policy, found in speed.items():
        if found["speed_up"] is None:
            reach = f"{found['speed_up_low']:.1f} to {found['speed_up_high']:.1f}"
            lines.append(
                f"         {policy}: rounds from {reach} times naive_per_target, so the speed-up is unknown. Measure "
                "again with ./feedloop bench encode_once when the machine is less busy"
            )
    return lines


def _recommended(reader: dict[str, Any]) -> Table:
    """The best news of that day for one user; the title names the user's latest clicks."""
    lately = "; ".join(news["title"] or news["id"] for news in reader["history"][:-4:-1])
    title = Text(f"Of all news of {reader['time'][:10]}, for user {reader['user_id']}, who read last: {lately}")
    table = Table("news", "category", "title", title=title, title_justify="left")
    table.add_column("score", justify="right")
    for news in reader["recommended"]:
        cells = (Text(news[name]) for name in ("id", "category", "title"))  # a title's brackets are no markup
        table.add_row(*cells, f"{news['score']:.2f}")
    return table


def _verdicts(quality: dict[str, Any]) -> list[str]:
    auc = {name: found["auc"] for name, found in quality["methods"].items()}
    lines = [f"         {paired_line(quality)}"]
    if "oracle" in auc:
        share = (auc["model"] - 0.5) / (auc["oracle"] - 0.5)
        lines.append(f"         (AUC - .5) / (oracle - .5) = {share:.2f}")
    return lines + [f"[yellow]         {sentence}[/yellow]" for sentence in quality["alarms"]]
