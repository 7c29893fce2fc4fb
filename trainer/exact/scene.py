"""Builds a float64 model over random items and trajectories, on which proofs.py tests the rules of encode once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from schemas.token_table import TokenTable
from trainer.data.batch import StepBatch
from trainer.data.tensors import StepTensors
from trainer.encode.plan import Plan
from trainer.encode.planner import make_planner
from trainer.encode.policies import WAITING_POLICIES, PlannerConfig
from trainer.encode.vector_table import VectorTable
from trainer.loop.step import train_step, trained_parameters
from trainer.loop.steps import StepMaker
from trainer.model.attention_pool import AdditiveAttention
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.model.user_encoder import UserEncoderConfig
from trainer.optimise.finite import FiniteWatch
from trainer.optimise.mixed_precision import StepEncoder
from trainer.optimise.optimiser import Optimiser, OptimiserConfig
from trainer.ranks.process_group import ALONE, Ranks
from trainer.tasks.ranking import RankingHead

CPU = torch.device("cpu")
SIZES = (6, 2)
ONCE = PlannerConfig(policy="once", chunk_sizes=SIZES)
_WIDTH = 16
_BUCKET = 1000  # gradients: several in each layer
_NO_UPDATE = OptimiserConfig(encoder_learning_rate=0.0, learning_rate=0.0, clip_norm=1e300)

# Plan -> factor (N,) on the leaf's gradient. Controls use it to switch a mechanism off.
Spoil = Callable[[Plan], Tensor]


@dataclass(frozen=True, slots=True)
class Gradients:
    """The optimiser's gradients in each step, divided by the count and flat, for encoder and head separately."""

    encoder: list[Tensor]
    head: list[Tensor]
    counts: list[float]

    def total(self) -> Tensor:
        """All gradients, summed over the steps."""
        return torch.cat([torch.stack(self.encoder).sum(0), torch.stack(self.head).sum(0)])


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneConfig:
    """Determines a scene, which is the same in every process."""

    encoder: TextEncoderConfig
    user: UserEncoderConfig = field(default_factory=UserEncoderConfig)
    items: int = 12
    steps: int = 4
    seed: int = 1


class Scene:
    """Items, trajectories and a model, all from a seed. Weights never change: only gradients are compared.

    All layers are trained: a store of frozen layers' output is rounded to half precision, which would hide differences.
    """

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.encoder = TextEncoder(replace(config.encoder, frozen_layers=0, vector_width=_WIDTH)).double()
        self.head = RankingHead(config.user, vector_width=_WIDTH).double()
        for table in (module for module in self.encoder.split.modules() if isinstance(module, nn.Embedding)):
            table.requires_grad_(False)  # half of a small model, with almost only zero gradients
        for module in (self.encoder.token_pool, self.encoder.segment_pool, self.head.user.attention):
            if isinstance(module, AdditiveAttention):
                nn.init.normal_(module.query.weight)  # zero at first, which would hide mistakes in pooling
        if self.head.user.among is not None:
            nn.init.normal_(self.head.user.among.out.weight)
        self.rows = config.items + 1
        rng = np.random.default_rng(config.seed)
        tokens = random_tokens(rng, config.items, vocabulary=self.encoder.split.vocabulary)
        self.items = ItemInput(tokens, device=CPU)
        self.batches = [random_batch(rng, config.items) for _ in range(config.steps)]

    @cached_property
    def once(self) -> Gradients:
        """The gradients of `once` without dropout, the reference of most rules."""
        return self.gradients(ONCE)

    @cached_property
    def once_with_dropout(self) -> Gradients:
        """The gradients of `once` with the language model's own dropout."""
        return self.gradients(ONCE, dropout=True)

    def gradients(
        self,
        policy: PlannerConfig,
        *,
        batches: Sequence[StepBatch] | None = None,
        counts: Sequence[float] | None = None,
        kept_chunks: int | None = None,
        dropout: bool = False,
        seed: int = 3,
        ranks: Ranks = ALONE,
        spoil: Spoil | None = None,
    ) -> Gradients:
        """The gradients of `policy` over one epoch of `batches`. `counts`: over all ranks, if there are several, whose
        sums are taken in small buckets."""
        batches = self.batches if batches is None else batches
        planner = make_planner(policy, rows=self.rows, seed=seed, rank=ranks.rank)
        encode = StepEncoder(self.encoder, self.items)
        maker = StepMaker(lambda chunk: encode.arrays(chunk.rows_C, real=chunk.items))
        table = VectorTable(
            encode,
            rows=self.rows,
            width=_WIDTH,
            device=CPU,
            kept_chunks=kept_chunks,
            dtype=torch.float64,
            waits=policy.policy in WAITING_POLICIES,
        )
        parameters = trained_parameters(self.encoder, self.head)
        optimiser = Optimiser(_NO_UPDATE, parameters, steps=len(batches))
        if ranks.world > 1:
            optimiser.reducer = encode.reducer(optimiser.gradients, "encoder", numbers=_BUCKET)
        watch = FiniteWatch(CPU)
        self.encoder.train(dropout)
        found = Gradients([], [], list(counts or [batch.weight_sum for batch in batches]))
        for step, batch in enumerate(batches):
            asked = [np.zeros(0, np.int64)] * ranks.rank + [batch.ask_M]
            plan = planner.plan(step, asked, last=step + 1 == len(batches))
            placed, tensors = maker.made(plan, batch, count=found.counts[step], completes=True).to(CPU)
            tensors = replace(tensors, weight_BP=tensors.weight_BP.double())
            head = self.head if spoil is None else _spoiled(self.head, spoil(plan))
            with InDouble():
                train_step(
                    placed, tensors, found.counts[step], table=table, head=head, optimiser=optimiser, watch=watch
                )
            found.encoder.append(_flat([*parameters.plm, *parameters.pooling]))
            found.head.append(_flat(parameters.head))
        return found


def _spoiled(head: nn.Module, factor_N: Tensor) -> Callable[[Tensor, StepTensors], Tensor]:
    def scored(leaf_ND: Tensor, batch: StepTensors) -> Tensor:
        leaf_ND.register_hook(lambda gradient_ND: gradient_ND * factor_N[:, None])
        return torch.as_tensor(head(leaf_ND, batch))

    return scored


def _flat(parameters: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def random_tokens(rng: np.random.Generator, items: int, *, vocabulary: int) -> TokenTable:
    """Items 1 to `items` with one or two segments of 3 to 6 random tokens each."""
    segments = rng.integers(1, 3, items)
    lengths = rng.integers(3, 7, int(segments.sum()))
    return TokenTable(
        segment_start_V1=np.r_[0, 0, np.cumsum(segments)].astype(np.int64),
        token_start_S1=np.r_[0, np.cumsum(lengths)].astype(np.int64),
        segment_field_S=np.zeros(len(lengths), np.uint8),
        token_values=rng.integers(5, vocabulary, int(lengths.sum())).astype(np.uint32),
        canonical_row_V=np.arange(items + 1, dtype=np.int32),
        tokens_version_V=np.ones(items + 1, np.int32),
        refined_S=np.zeros(len(lengths), np.bool_),
        keyword_frequency_R=np.zeros(0, np.uint8),
        keyword_position_R=np.zeros(0, np.uint16),
    )


def random_batch(
    rng: np.random.Generator, items: int, *, users: int = 3, clicks: int = 4, targets: int = 2
) -> StepBatch:
    """Trajectories of unequal length over few items, so that each item has several occurrences."""
    asked = rng.permutation(np.arange(1, items + 1))[: items // 2]
    length_B = rng.integers(1, clicks + 1, users)
    shown_BP = rng.integers(2, 4, (users, targets))
    weight_BP = np.where(rng.random((users, targets)) < 0.8, rng.choice([1.0, 0.5], (users, targets)), 0.0)
    weight_BP[:, 0] = 1.0
    return StepBatch(
        ask_M=asked,
        click_slot_BL=rng.integers(0, len(asked), (users, clicks)),
        click_mask_BL=np.arange(clicks) < length_B[:, None],
        earlier_BL=np.maximum(np.arange(clicks) - rng.integers(0, 2, (users, clicks)), 0),
        target_slot_BPK=rng.integers(0, len(asked), (users, targets, 3)),
        target_mask_BPK=np.arange(3) < shown_BP[:, :, None],
        prefix_BP=np.minimum(rng.integers(0, clicks + 1, (users, targets)), length_B[:, None]),
        weight_BP=weight_BP,
    )


class InDouble(TorchFunctionMode):
    """Inside, casts of float64 tensors to float32 have no effect: rounding would hide small differences."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not args or not isinstance(args[0], Tensor) or args[0].dtype != torch.float64:
            return func(*args, **given)
        if func is Tensor.float:
            return args[0]
        if given.get("dtype") is torch.float32:  # softmax, and casts by name
            given["dtype"] = torch.float64
        stays = [torch.float64 if each is torch.float32 else each for each in args]
        return func(*stays, **given)
