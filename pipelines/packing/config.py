"""PackingConfig: what decides the batches, beside the data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from pipelines.packing.sharding import ShardBy
from schemas.errors import InputError

OrderName = Literal["random", "time", "length", "minhash", "shp", "shp_balanced", "shp_kway"]  # ORDERS' names


@dataclass(frozen=True, kw_only=True, slots=True)
class PackingConfig:
    """The options of `pack`; they stand in the manifest."""

    source: str = "publisher"  # which publisher's trajectories
    order: OrderName = "shp_balanced"  # how trajectories stand, so that neighbours share news
    batch_trajectories: int = 64  # trajectories of a batch, at most
    batch_items: int = 4096  # distinct news of a batch, at most; a trajectory with more gets a batch of its own
    batch_tokens: int = 0  # tokens of a batch's distinct news, at most; 0 = no such budget
    superblock_batches: int = 24  # batches read and shuffled together, at most; there will be 8 superblocks or more
    shard_trajectories: int = 100_000  # near so many make the work of one Spark task
    shard_pins: int = 20_000_000  # and near so many clicks and candidates: they decide its memory
    shard_by: ShardBy = "time"  # which trajectories share a shard: of one time, with the same news, or by lot
    mixing: float = 0.0  # share of trajectories that stand anywhere in their shard: batches less alike, less reuse
    variants: int = 1  # epochs that differ in negatives and batches; build_trajectories must have made as many
    seed: int = 1  # decides what is drawn

    def __post_init__(self) -> None:
        whole = [field.name for field in fields(self) if field.type == "int" and field.name != "seed"]
        for name in whole:
            least = 0 if name == "batch_tokens" else 1
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: use {least} or more")
        if not 0 <= self.mixing <= 1:
            raise InputError(f"mixing is {self.mixing}: use a share from 0 to 1")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed is {self.seed}: use a whole number from 0 to 2^31 - 1")
        for name, known in (("order", get_args(OrderName)), ("shard_by", get_args(ShardBy))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(known)}")
