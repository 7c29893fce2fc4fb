"""Writes a small run folder as `train`, `evaluate` and the demo leave it, with hostile texts from logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.page.facts import Facts, Places, read_facts
from tests.packed import packed_directory

HOSTILE = "</script><script>window.hit=1</script>"
IMAGE = "<img src=x onerror=window.hit=1>"

CONFIG = {
    "run": {"epochs": 2, "seed": 1},
    "encoder": {"plm": HOSTILE},
    "planner": {"policy": "cached", "max_age_steps": 2},
}
DEFAULTS = {
    "run": {"epochs": 1, "seed": 1},
    "encoder": {"plm": "minilm"},
    "planner": {"policy": "cached", "max_age_steps": 10},
}
METRICS: list[dict[str, Any]] = [
    {"step": 10, "steps": 24, "epoch": 0, "loss": 1.5, "clicks_per_second": 100.0, "targets": 50, "asked": 90,
     "encoded": 60, "looked_up": 30, "looked_up_by_age": [0, 30], "seconds": 0.5, "data_wait_seconds": 0.01},
    {"step": 20, "steps": 24, "epoch": 1, "loss": 1.2, "clicks_per_second": 200.0, "targets": 60, "asked": 95,
     "encoded": 35, "looked_up": 60, "looked_up_by_age": [0, 40, 20],
     "seconds": 0.3, "data_wait_seconds": 0.0, "hardware_mfu": 0.2,
     "useful_mfu": 0.1, "drift_looked_up": 0.2, "drift_encoded": 0.1},
    {"step": 24, "steps": 24, "epoch": 1, "loss": 1.1, "clicks_per_second": 250.0, "targets": 30, "asked": 40,
     "encoded": 10, "looked_up": 30, "looked_up_by_age": [0, 20, 10],
     "seconds": 0.2, "data_wait_seconds": 0.01, "hardware_mfu": 0.3,
     "useful_mfu": 0.15, "drift_looked_up": 0.2, "drift_encoded": 0.1},
]  # fmt: skip
INGEST = {
    "lines": 1400, "impressions": 1200, "merged": 150, "rejected": 50, "replayed": 90, "retold": 60, "double_logged": 0,
    "rejected_by_reason": {"not_json": 30, "bad_time": 20, "too_long": 0}, "outputs": {"raw_log": 2},
}  # fmt: skip


def _speed(clicks: float, *, encoded: int, targets: int) -> dict[str, Any]:
    """A policy as `bench encode_once` reports it; `clicks` per second of a processor, with 1.5 processors in use."""
    found = {"clicks_per_second": 1.5 * clicks, "clicks_per_processor_second": clicks, "processors": 1.5, "rounds": 5}
    ratio = {"speed_up": clicks / 40, "speed_up_low": clicks / 45, "speed_up_high": clicks / 35}
    return {**found, **ratio, "speed_up_by": "processor", "encoded": encoded, "targets": targets}


SUMMARY: dict[str, Any] = {
    "data": f"logs of {IMAGE}",
    "ingest": INGEST,
    "news": {"items": 3000, "folded_items": 12, "tokens": 40000, "full_tokens": 50000, "outputs": {}},
    "trajectories": {"users": 47, "evaluate_from": "2026-03-07", "outputs": {}},
    "batches": {
        "uses_of_an_item": 3.3, "ratio_to_random": 0.8, "of_batch_before": 0.58, "click_padding": 0.53,
        "candidate_padding": 0.001, "items_spread": 1.113,
    },
    "training": {
        "checkpoint": "run-1/checkpoint/step-00000024", "complete": True, "epochs": 2, "steps": 24, "targets": 140,
        "asked": 225, "encoded": 105, "looked_up": 120, "seconds": 1.0,
        "data_wait_seconds": 0.02, "clicks_per_second": 140.0,
    },
    "quality": {
        "model": {"auc": 0.82, "impressions": 90, "skipped": 10}, "zero_shot": {"auc": 0.76}, "oracle": {"auc": 0.9},
    },
    "speed": {
        "naive_per_target": _speed(40.0, encoded=2000, targets=90),
        "naive": _speed(120.0, encoded=700, targets=90),
        "once": _speed(400.0, encoded=200, targets=90),
        "cached": _speed(1800.0, encoded=40, targets=90),
        "accumulated": _speed(700.0, encoded=210, targets=190),
    },
    "stages": {"ingest": 23.0, "training": 35.6, "a blink": 0.001},
}  # fmt: skip


def _method(auc: float) -> dict[str, Any]:
    low, high = ({"auc": auc + by, "mrr": 0.3 + by} for by in (-0.01, 0.01))
    return {"auc": auc, "mrr": 0.3, "ndcg5": 0.4, "ndcg10": 0.5, "low": low, "high": high}


EVALUATION: dict[str, Any] = {
    "checkpoint": "c", "step": 24, "data": "d",
    "split": {"evaluate_from": "2026-03-07", "first": "2026-03-07", "last": "2026-03-08"},
    "impressions": 90, "skipped": 10, "unlabelled": 0,
    "methods": {
        "oracle": _method(0.9), "popularity": _method(0.52), "model": _method(0.82), "zero_shot": _method(0.76),
    },
    "paired": {
        "zero_shot": {
            "auc": {"mean": 0.06, "low": 0.05, "high": 0.07}, "mrr": {"mean": -0.01, "low": -0.02, "high": 0.01},
        },
    },
    "slices": {
        "history length": [
            {"slice": IMAGE, "impressions": 1, "auc": 0.7, "mrr": 0.3, "ndcg10": 0.4, "auc_low": 0.6, "auc_high": 0.8},
            {"slice": "6 to 20", "impressions": 60, **dict.fromkeys(("auc", "mrr", "ndcg10", "auc_low", "auc_high"))},
        ],
        "new users": [],
    },
    "recall": {"pool": 1200, "at": {"5": 0.02, "100": 0.2}},
    "alarms": [], "left_out": [f"3 impressions of {IMAGE}."],
}  # fmt: skip


def _news(name: str, title: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "title": title, "category": "sports", **more}


def example(user: str, auc: float) -> dict[str, Any]:
    """An impression of a user who read two news and was shown three."""
    shown = [
        _news("n3", HOSTILE, score=1.5, rank=1, clicked=False),
        _news("n4", f"A vote for {user}", score=0.5, rank=2, clicked=True),
        _news("n5", IMAGE, score=-1.5, rank=3, clicked=False),
    ]
    return {
        "user_id": user, "impression_id": f"i-{user}", "time": "2026-03-07T09:00:00+00:00",
        "history": [_news("n1", "Older"), _news("n2", IMAGE)], "candidates": shown, "auc": auc,
    }  # fmt: skip


EXAMPLES = [example(HOSTILE, 0.5), example("anna", 1.0), example("bert", 0.0)]
ABOUT = {
    "ended_at": "2026-03-08T10:00:00+00:00", "device": "a card", "defaults": DEFAULTS, "stages": {"training": 1.5},
    "versions": {"feedloop": "0.1.0", "torch": "2.10.0"}, "commit": "abc", "machine": {"cores": 2, "memory_gib": 24.0},
}  # fmt: skip
FILES: dict[str, Any] = {
    "config.json": CONFIG, "about.json": ABOUT, "evaluation.json": EVALUATION, "examples.json": EXAMPLES,
}  # fmt: skip


def run_folder(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """`folder`/run-1 next to a packed directory of 48 trajectories and the demo's summary.json."""
    packed = packed_directory(folder / "packed", config={"source": "paper", "order": "shp"})
    manifest = json.loads((packed / "manifest.json").read_text())
    manifest["counts"]["distinct_items_time_order"] = 314
    manifest["inputs"]["item_tokens"] = 0
    (packed / "manifest.json").write_text(json.dumps(manifest))
    run = folder / "run-1"
    run.mkdir()
    for name, value in FILES.items():
        if name not in without:
            content = value if name != "about.json" else {**value, "data": str(packed)}
            (run / name).write_text(json.dumps(content))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    if "summary.json" not in without:
        training = {**SUMMARY["training"], "checkpoint": str(run / "checkpoint" / "step-00000024")}
        content = {**SUMMARY, "training": training, "pack": {"out": str(packed)}}
        (folder / "summary.json").write_text(json.dumps(content))
    return run


def facts_of(run: Path, **more: Any) -> Facts:
    """The facts of the run, read as `report` does."""
    return read_facts(Places(run=run, **more), read_batches=False)
