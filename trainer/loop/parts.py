"""Builds the parts of a run from a config and a prepared directory; each part keeps its own state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from schemas.errors import InputError
from trainer.data.backends import BACKENDS
from trainer.data.position import Order
from trainer.data.reader import Reader
from trainer.encode.chunks import Chunk
from trainer.encode.cutting import ByLength, Cutter, Lengths, PackedForms, PaddedForms
from trainer.encode.plan import Planner
from trainer.encode.planner import make_planner
from trainer.encode.policies import WAITING_POLICIES
from trainer.encode.vector_table import VectorTable
from trainer.loop.staleness import StalenessWatch
from trainer.loop.step import trained_parameters
from trainer.loop.steps import optimiser_steps
from trainer.model.encoder_input import ChunkArrays
from trainer.model.packed_rows import best_fit
from trainer.optimise.compiled import inductor
from trainer.optimise.finite import FiniteWatch
from trainer.optimise.mixed_precision import StepEncoder
from trainer.optimise.optimiser import Optimiser
from trainer.ranks.process_group import Ranks, sum_in_place
from trainer.setup.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one run on this process's device; `ranks` = this process's place among those of the run."""

    prepared: Prepared
    ranks: Ranks
    reader: Reader
    planner: Planner
    encode: StepEncoder
    table: VectorTable
    optimiser: Optimiser
    watch: StalenessWatch
    finite: FiniteWatch
    chunk_arrays: Callable[[Chunk], ChunkArrays]
    """the encoder's input of a chunk, on the host"""
    total_steps: int

    @property
    def shares_encoding(self) -> bool:
        """Whether each item is encoded on one rank only; each rank must then know the items that all ranks ask for."""
        return _shares(self.prepared, self.ranks)

    def steps_in(self, epochs: int) -> int:
        """Optimisation steps of the first `epochs` epochs."""
        return _steps_in(self.reader, self.prepared, epochs)


def make_parts(prepared: Prepared, ranks: Ranks) -> Parts:
    """All parts, untrained. InputError for a policy that several processes cannot follow."""
    config, run = prepared.config, prepared.config.run
    if ranks.world > 1 and config.planner.policy == "naive_per_target":
        raise InputError("naive_per_target cuts steps by samples, and so trains in one process only")
    assert run.precision in ("float32", "bfloat16"), "prepare resolves it for the device"
    reader = _reader(prepared, ranks)
    cutter = _cutter(prepared)
    encode = StepEncoder(
        prepared.encoder,
        prepared.items,
        half=run.precision == "bfloat16",
        compiler=inductor if run.compile else None,
        forms=cutter.forms,
    )
    rows = prepared.directory.manifest.tokens.rows
    planner = make_planner(
        config.planner,
        rows=rows,
        seed=run.seed,
        rank=ranks.rank,
        world=ranks.world,
        cutter=cutter,
        tokens_V=prepared.items.tokens_V,
    )
    total_steps = _steps_in(reader, prepared, run.epochs)
    optimiser = _optimiser(prepared, total_steps)
    encode.send_to(optimiser.gradients, "encoder")
    if ranks.world > 1:
        optimiser.reducer = encode.reducer(optimiser.gradients, "encoder")
    return Parts(
        prepared=prepared,
        ranks=ranks,
        reader=reader,
        planner=planner,
        encode=encode,
        table=_table(prepared, encode, rows),
        optimiser=optimiser,
        watch=StalenessWatch(config.planner, planner, plan_ahead=run.plan_ahead),
        finite=FiniteWatch(prepared.device),
        chunk_arrays=partial(_chunk_arrays, encode, cutter),
        total_steps=total_steps,
    )


def _cutter(prepared: Prepared) -> Cutter:
    """How a step's items are cut into chunks."""
    config, items = prepared.config, prepared.items
    sizes = config.planner.chunk_sizes
    assert sizes is not None, "prepare resolves it for the device"
    if not prepared.few_forms:
        return ByLength(sizes, items.tokens_V)
    lengths = Lengths(items.tokens_V, items.longest_V, max(1, int(items.segments_V.max(initial=1))))
    layout = prepared.encoder.layout
    if not layout.row_tokens:
        return PaddedForms(sizes, lengths)
    return PackedForms(
        sizes, lengths, width=layout.width(items), rows_needed=lambda tokens, width: best_fit(tokens, width)[2]
    )


def _chunk_arrays(encode: StepEncoder, cutter: Cutter, chunk: Chunk) -> ChunkArrays:
    return encode.arrays(chunk.rows_C, cutter.form(chunk.rows_C), real=chunk.items)


def _shares(prepared: Prepared, ranks: Ranks) -> bool:
    return prepared.config.planner.share_encoding and ranks.world > 1


def _reader(prepared: Prepared, ranks: Ranks) -> Reader:
    run = prepared.config.run
    assert run.streams, "prepare resolves it"
    order = Order(
        seed=run.seed,
        batches_per_step=run.batches_per_step,
        streams=run.streams,
        rank=ranks.rank,
        world=ranks.world,
    )
    return Reader(prepared.directory, order, BACKENDS[run.reader])


def _table(prepared: Prepared, encode: StepEncoder, rows: int) -> VectorTable:
    dtype: torch.dtype = prepared.encoder.project.weight.dtype
    return VectorTable(
        encode,
        rows=rows,
        width=prepared.config.encoder.vector_width,
        device=prepared.device,
        kept_chunks=prepared.config.run.kept_chunks,
        dtype=dtype,
        waits=prepared.config.planner.policy in WAITING_POLICIES,
        exchange=sum_in_place,
    )


def _optimiser(prepared: Prepared, steps: int) -> Optimiser:
    config, trained = prepared.config, trained_parameters(prepared.encoder, prepared.head)
    return Optimiser(
        config.optimiser,
        trained,
        steps=steps,
        encoder_factor=config.planner.encoder_rate_factor,
        unreached=_unreached(prepared),
    )


def _unreached(prepared: Prepared) -> list[nn.Parameter]:
    """Parameters that no gradient reaches: those that the language model does not use, and pooling of segments and
    frequencies of keywords where the items have none."""
    encoder, items = prepared.encoder, prepared.items
    named = dict(encoder.split.named_parameters())
    found = [named[name] for name in prepared.unused_parameters]
    if items.segments_V.max(initial=1) <= 1:
        found += encoder.segment_pool.parameters()
    if encoder.frequency is not None and not items.refined:
        found += encoder.frequency.parameters()
    return found


def _steps_in(reader: Reader, prepared: Prepared, epochs: int) -> int:
    policy, samples = prepared.config.planner.policy, prepared.config.run.samples_per_step
    return sum(optimiser_steps(reader, epoch, policy, samples) for epoch in range(epochs))
