"""A synthetic publisher of a few dozen views: its logs and news, and a random language model of two layers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

FORGOTTEN = "u9"
NEWS, USERS, VIEWS, SHOWN = 36, 10, 18, 4  # VIEWS: of a day
DAYS = ("2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06")  # the last is logged later
VOCABULARY = 30522  # of the tokenizer that installs as a package, whose name is stored; of a folder, its path is
_TEXT = "bank rate loan price stock trade goal match team player season coach film actor music album stage festival"
_WORDS = tuple(_TEXT.split())


def write_publisher(folder: Path) -> None:
    """publisher/ with logs, news.jsonl, and later/ with the log of the last day; plm/."""
    rng = np.random.default_rng(20260302)
    news = _news(rng)
    (folder / "publisher" / "logs").mkdir(parents=True)
    (folder / "later" / "logs").mkdir(parents=True)
    _write(folder / "publisher" / "news.jsonl", [json.dumps(item) for item in news])
    read: dict[str, list[str]] = {f"u{user}": [] for user in range(USERS)}
    for number, day in enumerate(DAYS):
        where = "later" if day == DAYS[-1] else "publisher"
        _write(folder / where / "logs" / f"{day}.jsonl", _day(rng, number, day, read))
    write_plm(folder / "plm")


def write_plm(folder: Path) -> None:
    """A random BERT of 16 hidden units for the packaged tokenizer's ids, whose words share 64 vectors: they pack well.

    Without dropout, whose masks processors of two makers draw differently.
    """
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertModel(shape)
    words = model.embeddings.word_embeddings.weight
    with torch.no_grad():
        words.copy_(words[torch.arange(VOCABULARY) % 64])
    model.save_pretrained(folder)


def _news(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Long bodies, which are refined; of the last two items one nearly has the text of another, one all of it."""
    items = [
        {
            "news_id": f"n{number:02d}",
            "category": f"c{number % 3}",
            "subcategory": f"s{number % 5}",
            "title": " ".join(rng.choice(_WORDS, 5)),
            "abstract": "",
            "body": " ".join(rng.choice(_WORDS[6 * (number % 3) : 6 * (number % 3) + 6], 24)) + ".",
            "published_at": f"2026-03-01T{number % 24:02d}:00:00Z",
        }
        for number in range(NEWS)
    ]
    same, near = items[0], {**items[1], "title": f"{items[1]['title']} {_WORDS[0]}"}
    ids = [item["news_id"] for item in items]
    return [*items[:-2], {**near, "news_id": ids[-2]}, {**same, "news_id": ids[-1]}]


def _day(rng: np.random.Generator, number: int, day: str, read: dict[str, list[str]]) -> list[str]:
    """Views of a day, one of them logged under two ids, and a line that is none. Users like one news in three."""
    begin, lines = datetime.fromisoformat(day).replace(tzinfo=UTC), []
    for view in range(VIEWS):
        user = f"u{view % USERS}"
        shown = [f"n{item:02d}" for item in rng.choice(NEWS, SHOWN, replace=False)]
        liked = [item for item in shown if int(item[1:]) % 3 == view % USERS % 3]
        clicked = (liked or shown)[: 1 + view % 2]
        record = {
            "impression_id": f"{day}-{view}",
            "user_id": user,
            "time": (begin + timedelta(minutes=37 * view)).isoformat().replace("+00:00", "Z"),
            "history": list(read[user]),
            "shown": shown,
            "clicked": clicked,
        }
        lines.append(json.dumps(record))
        read[user] += clicked
    again = json.loads(lines[number + 1]) | {"impression_id": f"{day}-again"}
    return [*lines, json.dumps(again), '{"impression_id": "cut sho']


def _write(file: Path, lines: list[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines))
