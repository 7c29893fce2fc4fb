"""Prints recommended news as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Screen
from rich.text import Text

from trainer.serve.recommend import Recommended


def show_recommended(found: list[Recommended], title: str) -> None:
    """Print the news as a table, best first."""
    screen = Screen(title=title, title_justify="left")
    for name in ("rank", "score"):
        screen.add_column(name, justify="right")
    for name in ("news", "category", "title"):
        screen.add_column(name, overflow="fold")
    for news in found:
        category = "/".join(filter(None, (news.category, news.subcategory)))
        texts = (news.news_id or f"row {news.item_row}", category, news.title)
        screen.add_row(str(news.rank), f"{news.score:.3f}", *map(Text, texts))  # a title's brackets are no markup
    Console(highlight=False).print(screen)
