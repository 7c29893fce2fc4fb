"""After prepare_news is killed before any of its commits, the next run gives the result of one complete run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines.lake.tables import Lake
from pipelines.news.flow import prepare_news
from pipelines.news.segmenting import NewsConfig
from schemas.news import CORPUS_STATISTICS, ITEM_TOKENS
from tests.builders import rows
from tests.pipelines.news.test_refined_flow import LONG, write

BEFORE = NewsConfig(tokens_per_segment=5, fields=("body",))
AFTER = replace(BEFORE, language="da", new_corpus=True, near_duplicates=0.6)
COMMITS = 6  # NEWS, corpus, near-duplicates, note, ITEM_TOKENS, and the note once more, which changes nothing


@dataclass
class Kill:
    """Counts commits and raises instead of the `at`-th."""

    at: int
    commits: int = 0

    def next(self) -> None:
        self.commits += 1
        if self.commits == self.at:
            raise KeyboardInterrupt


def killed(lake: Lake, monkeypatch: pytest.MonkeyPatch, at: int) -> Kill:
    """The lake's commits counted, the `at`-th never made."""
    kill = Kill(at)
    for name in ("append", "merge", "overwrite", "set_properties"):
        write = getattr(lake, name)

        def counted(*args: Any, write: Any = write, **options: Any) -> Any:
            kill.next()
            return write(*args, **options)

        monkeypatch.setattr(lake, name, counted)
    return kill


def held(lake: Lake) -> list[Any]:
    kept = [name for name in ITEM_TOKENS.column_names if name != "tokenizer_sha256"]
    return [rows(lake.read(ITEM_TOKENS), *kept), rows(lake.read(CORPUS_STATISTICS), "word", "texts_with")]


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake, the news of its next run, and what that run makes of it."""
    folder = tmp_path_factory.mktemp("killed")
    for name in ("first", "more"):
        (folder / name).mkdir()
    write(folder / "first", a=LONG, b="harbour news")
    more = "lantern og zebra news and more of "
    write(folder / "more", a=f"{LONG} zebra", c=f"{more}it", d=f"{more}them")
    prepare_news(Lake(spark, str(folder / "base")), folder / "first", BEFORE, source="s")
    shutil.copytree(folder / "base", folder / "complete")
    with pytest.MonkeyPatch.context() as patch:
        lake = Lake(spark, str(folder / "complete"))
        counted = killed(lake, patch, at=-1)
        prepare_news(lake, folder / "more", AFTER, source="s")
    assert counted.commits == COMMITS
    return folder


@pytest.mark.parametrize(
    "at", [at if at in (3, 5) else pytest.param(at, marks=pytest.mark.slow) for at in range(1, COMMITS + 1)]
)
def test_a_killed_run_is_completed_by_the_next(
    spark: SparkSession, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    shutil.copytree(folder / "base", tmp_path / "lake")
    with monkeypatch.context() as patch:
        lake = Lake(spark, str(tmp_path / "lake"))
        killed(lake, patch, at)
        with pytest.raises(KeyboardInterrupt):
            prepare_news(lake, folder / "more", AFTER, source="s")
    lake = Lake(spark, str(tmp_path / "lake"))
    prepare_news(lake, folder / "more", AFTER, source="s")
    assert held(lake) == held(Lake(spark, str(folder / "complete")))
