"""The options that, with the data, decide the batches."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from pipelines.packing.sharding import ShardBy
from schemas.errors import InputError

OrderName = Literal["random", "time", "length", "minhash", "shp", "shp_balanced", "shp_kway"]  # ORDERS' names


@dataclass(frozen=True, kw_only=True, slots=True)
class PackingConfig:
    """The options of `pack`, which the manifest records."""

    source: str = "publisher"  # publisher of the trajectories
    order: OrderName = "shp_balanced"  # order of the trajectories, so that neighbours share news
    batch_trajectories: int = 64  # trajectories of a batch, at most
    batch_items: int = 4096  # distinct news of a batch, at most; a trajectory with more gets a batch of its own
    batch_tokens: int = 0  # tokens of a batch's distinct news, at most; 0 = no such budget
    superblock_batches: int = 24  # batches read and shuffled together, at most; fewer if needed for 8 superblocks
    shard_trajectories: int = 100_000  # approximate trajectories of one Spark task
    shard_pins: int = 20_000_000  # approximate clicks and candidates of one Spark task, which decide its memory
    shard_by: ShardBy = "time"  # trajectories that share a shard: of one time, with the same news, or at random
    mixing: float = 0.0  # share of trajectories at random places of their shard: batches less alike, less reuse
    variants: int = 1  # epochs that differ in negatives and batches; build_trajectories must have made that number
    seed: int = 1  # of all random choices

    def __post_init__(self) -> None:
        integers = [field.name for field in fields(self) if field.type == "int" and field.name != "seed"]
        for name in integers:
            least = 0 if name == "batch_tokens" else 1
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: use {least} or more")
        if not 0 <= self.mixing <= 1:
            raise InputError(f"mixing is {self.mixing}: use a share from 0 to 1")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed is {self.seed}: use an integer from 0 to 2^31 - 1")
        for name, known in (("order", get_args(OrderName)), ("shard_by", get_args(ShardBy))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}: use one of {', '.join(known)}")
