"""Reads a user's clicks from the lake without Spark, and computes the user's state from clicks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from schemas.errors import InputError
from schemas.history import history_of
from schemas.impression import HISTORIES, IMPRESSIONS
from schemas.storage.place import Place
from trainer.eval.impressions import Impressions
from trainer.eval.lake_rows import delta_rows, query, quoted
from trainer.model.user_encoder import UserEncoder

_NEAREST = 2  # ids that a message names before and after an unknown one


def clicks_of(lake: Path | Place, source: str, user_id: str) -> list[str]:
    """A user's news ids in click order: the history of the first impression, then the logged clicks.

    Trajectories are made from the same sequence. InputError if the source's logs have no such user; it names the
    nearest.
    """
    where = ("user_id", user_id)
    columns = {"source": pa.string(), "impression_id": pa.string(), "time": pa.timestamp("us", "UTC")}
    columns |= {"history_length": pa.int64(), "history_hash": pa.int64()}
    columns |= {"shown": pa.list_(pa.string()), "clicked": pa.list_(pa.bool_())}
    found = delta_rows(lake / IMPRESSIONS.name, columns, where=where, later={"history_offset": pa.int64()})
    views = found.filter(pc.equal(found["source"], source)).sort_by(
        [("time", "ascending"), ("impression_id", "ascending")]
    )
    if not len(views):
        nearest = nearest_ids(_nearest_users(lake, source, user_id))
        raise InputError(f"{lake}: the logs of source {source} hold no user {user_id!r}.{nearest}")
    of_first = [views[f"history_{name}"][0].as_py() for name in ("length", "hash", "offset")]
    stored = delta_rows(lake / HISTORIES.name, {"source": pa.string(), "clicks": pa.list_(pa.string())}, where=where)
    first = history_of(stored.filter(pc.equal(stored["source"], source))["clicks"].to_pylist(), *of_first)
    lists = zip(views["shown"].to_pylist(), views["clicked"].to_pylist(), strict=True)
    logged = [news for shown, marks in lists for news, mark in zip(shown, marks or [], strict=False) if mark]
    return first + logged


def nearest_ids(ids: list[str]) -> str:
    """The end of a message on an unknown id: the nearest known ids, or that there are none."""
    return f" The nearest: {', '.join(ids)}" if ids else " There are none at all"


def _nearest_users(lake: Path | Place, source: str, user_id: str) -> list[str]:
    """The users of the source around an id in alphabetical order. The query returns only these few, not all ids."""
    sides: list[list[str]] = []
    for comparison, order in (("<", "DESC"), (">", "ASC")):
        sql = (
            f"SELECT DISTINCT user_id FROM it WHERE source = {quoted(source)} AND user_id {comparison} "
            f"{quoted(user_id)} ORDER BY user_id {order} LIMIT {_NEAREST}"
        )
        sides.append(query(lake / IMPRESSIONS.name, sql, {"user_id": pa.string()})["user_id"].to_pylist())
    return sides[0][::-1] + sides[1]


@torch.no_grad()
def user_state(user: UserEncoder, click_LD: NDArray[np.float32]) -> NDArray[np.float32]:
    """The state (D,) after L clicks in order; each click sees all earlier ones. Without clicks: the start vector."""
    clicks = torch.from_numpy(np.ascontiguousarray(click_LD))[None]
    mask_BL = torch.ones(clicks.shape[:2], dtype=torch.bool)
    earlier_BL = torch.arange(clicks.shape[1])[None]
    state_BPD = user.eval()(clicks, mask_BL, earlier_BL, torch.tensor([[clicks.shape[1]]]))
    return np.asarray(state_BPD[0, 0].numpy())


def histories(impressions: Impressions, *, limit: int, latest: int) -> Iterator[NDArray[np.int64]]:
    """The latest `latest` item rows of the histories of the first `limit` impressions."""
    for number in range(min(limit, impressions.size)):
        start, end = impressions.history_start_I1[number : number + 2]
        yield np.asarray(impressions.history_Y[max(start, end - latest) : end], np.int64)
