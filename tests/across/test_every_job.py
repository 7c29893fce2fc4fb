"""Two engines that know nothing of each other run every job over drawn logs and news: the same tables, bit for bit."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from jobs import ingest as ingesting
from jobs.build_trajectories import build_trajectories
from jobs.ingest import ingest
from jobs.maintain import maintain
from jobs.pack import pack
from jobs.prepare_news import prepare_news
from pipelines.engine.choice import EngineConfig
from pipelines.ingest.config import IngestConfig
from pipelines.lake.tables import Lake
from pipelines.maintain.flow import MaintenanceConfig
from schemas.errors import InputError, PartlyDone
from schemas.manifest import MANIFEST_FILE, Manifest
from schemas.storage.place import Place
from tests.across.drawn_files import deliver
from tests.across.drawn_options import news_config, packing_config, replay_config, trajectory_config
from tests.across.drawn_publisher import SOURCES, Publisher
from tests.conftest import SEED
from tests.engines import Engine, running
from tests.same_bits import held

ARRIVED = datetime(2026, 4, 1, tzinfo=UTC)
NOT_EMPTY = ("impressions", "aliases", "histories", "rejects", "news", "item_tokens", "trajectories", "evaluation")
ALL = IngestConfig(max_reject_share=1)
_OF_THE_ENGINE = ("inputs", "outputs", "tables", "history")  # versions, files, commits: each engine's own
Run = Callable[..., Mapping[str, Any]]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
publishers = st.builds(
    Publisher,
    draw=st.randoms(use_true_random=True),
    form=st.sampled_from(["mind", "mapped", "parquet"]),
    keyed=st.booleans(),
    texts=st.lists(st.text(max_size=12), min_size=6, max_size=12),
    values=st.lists(json_values, min_size=6, max_size=12),
)


def jobs(publisher: Publisher, folder: Path) -> Iterator[tuple[str, Run]]:
    """The jobs in their order, each without its lake and engine; files are written when their turn comes."""
    draw = publisher.draw
    for delivery in (1, 2):
        arrived = deliver(publisher, folder, delivery)
        for source, options in arrived.items():
            news = options.pop("news")
            yield f"ingest {delivery}", partial(ingest, source=source, config=ALL, **options)
            yield f"prepare_news {delivery}", partial(prepare_news, source=source, news=news, text=news_config(draw))
    yield "maintain", partial(maintain, config=MaintenanceConfig(zorder=draw.random() < 0.5))
    for source in SOURCES:
        yield "build_trajectories", partial(build_trajectories, config=trajectory_config(draw, source))
        yield "pack", partial(packed, config=packing_config(draw, source))
    for source in SOURCES:
        yield "replay", partial(ingest, source=source, config=replay_config(draw))
    yield "build again", partial(build_trajectories, config=trajectory_config(draw, SOURCES[0]))


def packed(*, lake: Place, **options: Any) -> dict[str, Any]:
    """What pack reports, and of its manifest all that the inputs alone decide."""
    out = Path(f"{lake}-packed-{options['config'].source}")
    summary = dict(pack(lake=lake, out=out, **options))
    found = Manifest.from_json((out / MANIFEST_FILE).read_text(), str(out))
    files = {re.sub("-[0-9a-f]{32}", "", each.path): each for each in found.files}
    summary["files"] = sorted(
        (name, each.sha256, each.superblocks) for name, each in files.items() if "_common" not in name
    )
    return summary | {"out": None, "tokens": found.tokens, "counts": found.counts}


def result_of(run: Run, lake: Path, engine: Engine) -> Any:
    """The summary, or the message of what could not be done."""
    try:
        summary = dict(run(lake=Place.of(lake), engine=EngineConfig(engine=engine)))
    except InputError as error:
        message = str(error).replace(str(lake), "LAKE")
        return [message, comparable(error.summary) if isinstance(error, PartlyDone) else None]
    return comparable(summary)


def comparable(summary: Mapping[str, Any]) -> dict[str, Any]:
    rows = {name: state["after"]["rows"] for name, state in summary.get("tables", {}).items()}
    kept = {name: value for name, value in summary.items() if name not in _OF_THE_ENGINE}
    return json.loads(json.dumps(kept | {"rows": rows}, default=repr))


def compare(publisher: Publisher, folder: Path, engines: Sequence[Engine] = ("embedded", "spark")) -> dict[str, int]:
    """Each job on each engine, all tables compared after it; how many rows each table has in the end.

    The embedded engine reads all lakes, which is quick; in the end, Spark reads its own too.
    """
    for at, (name, run) in enumerate(jobs(publisher, folder)):
        where = f"job {at}, {name}"
        summaries = []
        for engine in engines:
            with running(engine):
                summaries.append(result_of(run, folder / engine, engine))
        assert "could not do it" not in str(summaries[0]), where
        assert summaries[0] == summaries[-1], where
        ours, theirs = (read_by("embedded", folder / engine) for engine in (engines[0], engines[-1]))
        assert_same(ours, theirs, where)
    assert_same(ours, read_by(engines[-1], folder / engines[-1]), "read by itself")
    return {table: sum(row.startswith("[") for row in rows) for table, rows in ours.items()}


def read_by(engine: Engine, lake: Path) -> dict[str, list[str]]:
    with running(engine) as spark:
        return held(Lake(spark, str(lake)), but=["stamp", "finished_at"])


def assert_same(ours: dict[str, list[str]], theirs: dict[str, list[str]], where: str) -> None:
    assert ours.keys() == theirs.keys(), where
    for table, rows in ours.items():
        ones, others = set(rows), set(theirs[table])
        assert rows == theirs[table], f"{where}, {table}: {[*ones - others][:3]} and {[*others - ones][:3]}"


@pytest.fixture(autouse=True)
def _at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs begin at once, by ingest's clock: what it writes into the lines can be compared too."""
    monkeypatch.setattr(ingesting, "datetime", SimpleNamespace(now=lambda _: ARRIVED))


@pytest.mark.parametrize(
    "engines", [("embedded",), pytest.param(("embedded", "spark"), marks=pytest.mark.slow)], ids=["embedded", "both"]
)
@pytest.mark.timeout(1800)
def test_one_publisher(tmp_path: Path, engines: Sequence[Engine]) -> None:
    made = compare(Publisher(draw=random.Random(SEED)), tmp_path, engines)
    assert min(made[name] for name in NOT_EMPTY) > 3


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(publisher=publishers)
def test_drawn_publishers(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> None:
    compare(publisher, tmp_path_factory.mktemp("drawn"))
