"""Trial: tries a language model on the CPU before the first step, with items of the run and all options of the run.

An unsupported option raises an error that names the family and the option to change, instead of a traceback mid-run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import InputError
from schemas.token_table import TokenTable
from trainer.model.family import evaluating, first_line
from trainer.model.item_input import ItemInput
from trainer.model.packed_rows import RowMaps, pack_rows
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.optimise.compiled import traced
from trainer.optimise.gradients import FlatGradients
from trainer.optimise.mixed_precision import StepEncoder
from trainer.setup.sample_table import sample_table

CLOSE = 1e-4  # tolerance for float32 sums in another order, as a share of the largest number
_CLOSE_IN_HALF = 1e-2  # the same for bfloat16
_CHANGED = 1e-9  # larger differences show that attention reached the token: equal sums of equal numbers differ by 0
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """The options of a run that its language model must support."""

    encoder: TextEncoderConfig
    tokens_per_segment: int
    half: bool = False
    compiled: bool = False


def try_encoder(
    encoder: TextEncoder, asked: TrialRequest, table: TokenTable, rows: NDArray[np.int64]
) -> tuple[str, ...]:
    """The names of the language model's trained parameters that no gradient reaches, tried on a few of the item rows.

    InputError where `encoder`, untrained and on the CPU, does not give its language model's own output there, or does
    not support a requested option. Leaves its weights and torch's generator as they were.
    """
    trial = _Trial(encoder, asked, sample_table(table, rows))
    with torch.random.fork_rng(devices=[]), _unchanged(encoder):
        trial.check_own_output()
        if asked.encoder.bus:
            trial.check_bus()
        if asked.encoder.row_tokens:
            trial.check_shared_rows()
        unused = trial.check_gradients()
        if asked.half:
            trial.check_gradients(half=True)
        if asked.compiled:
            trial.check_compiled()
    return unused


@contextmanager
def _unchanged(encoder: TextEncoder) -> Iterator[None]:
    training = encoder.training
    yield
    encoder.zero_grad(set_to_none=True)
    encoder.train(training)


class _Trial:
    """One language model on four segments of real items."""

    def __init__(self, encoder: TextEncoder, asked: TrialRequest, table: TokenTable) -> None:
        self._encoder, self._split, self._asked = encoder, encoder.split, asked
        self._items = ItemInput(table, device=_CPU)
        self._rows = np.arange(1, table.rows)
        starts = np.asarray(table.token_start_S1)
        values = torch.from_numpy(np.asarray(table.token_values).astype(np.int64))
        lengths = np.diff(starts)
        order = np.argsort(-lengths, kind="stable")[np.linspace(0, len(lengths) - 1, 4).astype(np.int64)]
        self._segments = [values[starts[s] : starts[s + 1]] for s in order]  # longest first
        self.length_CS = np.array([len(segment) for segment in self._segments]).reshape(2, 2)
        self._ids_XT = torch.nn.utils.rnn.pad_sequence(self._segments, batch_first=True)
        self._mask_XT = torch.arange(self._ids_XT.shape[1]) < torch.from_numpy(self.length_CS.reshape(-1, 1))

    @contextmanager
    def _refusing(self, what: str, way_out: str) -> Iterator[None]:
        """Turns any failure inside into an InputError that says `what` failed, and the way out."""
        try:
            with evaluating(self._encoder):
                yield
        except InputError:
            raise
        except Exception as error:  # each family fails with an error type of its own
            raise self._refusal(f"{what} ({first_line(error)})", way_out) from error

    def _refusal(self, what: str, way_out: str) -> InputError:
        return InputError(f"plm {self._asked.encoder.plm!r} ({self._split.family.name}) {what}. {way_out}")

    def _hidden(self, ids_XT: Tensor, segment_mask_CS: Tensor | None = None) -> Tensor:
        below = self._split.lower(ids_XT, self._mask_XT) if self._split.frozen_layers else ids_XT
        hidden: Tensor = self._split(below, self._mask_XT, segment_mask_CS)
        return hidden

    def library_output(self) -> list[Tensor]:
        """The library's output for each segment alone; InputError if padded segments give other output."""
        tokens, other = self._asked.tokens_per_segment, "Name another --encoder.plm"
        shorter = f"Make shorter segments with prepare_news --tokens-per-segment. {other}"
        with self._split.uncut() as plm, evaluating(plm):
            with self._refusing(f"does not read segments of {tokens} tokens", shorter):
                _alone(plm, self._segments[0].repeat(tokens)[:tokens])
            with self._refusing("does not read the run's tokens", other):
                alone = [_alone(plm, segment) for segment in self._segments]
                padded_XTH = plm(input_ids=self._ids_XT, attention_mask=self._mask_XT.long()).last_hidden_state
        off = _difference(padded_XTH[self._mask_XT], torch.cat(alone))
        if not off < CLOSE:
            raise self._refusal(f"gives output that depends on the padding behind a text (difference {off:.2g})", other)
        return alone

    def check_own_output(self) -> None:
        """Split at the frozen layers, and with our attention function, the model gives its library's output."""
        n, wanted = self._split.frozen_layers, torch.cat(self.library_output())
        what, way_out = "attends in a way of its own", "Set encoder.bus = false and encoder.row_tokens = 0"
        if n and (self._asked.encoder.bus or self._asked.encoder.row_tokens):
            what, way_out = f"{what}, or cannot be cut at layer {n}", f"{way_out}, or encoder.frozen_layers = 0"
        elif n:
            what = f"cannot be cut at layer {n}: its layers pass on more than hidden states"
            way_out = "Set encoder.frozen_layers = 0"
        with self._refusing(what, way_out):
            off = _difference(self._hidden(self._ids_XT)[self._mask_XT], wanted)
        if not off < CLOSE:
            raise self._refusal(f"{what} (difference {off:.2g})", way_out)

    def check_bus(self) -> None:
        """A sibling segment, beyond its first token, changes a vector; another item's segment never does."""
        way_out = "Set encoder.bus = false"
        both_CS = torch.ones(2, 2, dtype=torch.bool)
        changed_XT = self._ids_XT.clone()
        changed_XT[1, 1 : int(self.length_CS[0, 1])] = int(self._ids_XT[0, 0])
        with self._refusing("does not let segments hear each other", way_out):
            hidden = [self._hidden(ids_XT, both_CS) for ids_XT in (self._ids_XT, changed_XT)]
            before, after = (each.masked_fill(~self._mask_XT[..., None], 0.0) for each in hidden)
        moved_X = (before - after).abs().amax((1, 2)) / before.abs().max().clamp(min=1.0)
        if moved_X[0] > _CHANGED and moved_X[2:].max() < CLOSE:
            return
        why = "it has one layer only, or its attention is its own"
        if self._split.causal:
            why = "a token sees those before it alone, and the first one sees none"
        raise self._refusal(f"does not let segments hear each other: {why}", way_out)

    def check_shared_rows(self) -> None:
        """In rows that items share, each token gets the padded form's output."""
        way_out = "Set encoder.row_tokens = 0"
        tokens = self._ids_XT.shape[1]
        made = pack_rows(self.length_CS, longest=tokens, width=int(self.length_CS.sum()))
        maps = RowMaps.of(made.source_RW, segments=2, longest=tokens)
        both_CS = torch.ones(2, 2, dtype=torch.bool)
        with self._refusing("cannot share rows between items", way_out):
            wanted = self._hidden(self._ids_XT, both_CS)[self._mask_XT]
            below = self._split.lower(self._ids_XT, self._mask_XT) if self._split.frozen_layers else self._ids_XT
            attention = self._split.packed_attention(maps.map(torch.from_numpy))
            source_RW = torch.from_numpy(np.maximum(made.source_RW, 0))
            packed = self._split.packed(below.flatten(0, 1)[source_RW], attention).flatten(0, 1)
            found = packed[torch.from_numpy(made.slot_CST).flatten(0, 1)[self._mask_XT]]
        off = _difference(found, wanted)
        if not off < CLOSE:
            raise self._refusal(f"gives other vectors when items share a row (difference {off:.2g})", way_out)

    def check_gradients(self, *, half: bool = False) -> tuple[str, ...]:
        """A gradient reaches the trained parameters, and the same generator state draws the same dropout again.

        Returns the names of parameters that none reaches.
        """
        way_out = "Set run.precision = float32" if half else "Name another --encoder.plm"
        frequency = self._items.refined and not half
        with (
            self._refusing(
                f"cannot be trained in {'bfloat16' if half else 'float32'}",
                "Set encoder.keyword_frequency = false" if frequency else way_out,
            ),
            torch.enable_grad(),
        ):
            encode = StepEncoder(self._encoder.train(), self._items, half=half)
            trained = [p for p in self._encoder.parameters() if p.requires_grad]
            if half:
                encode.send_to(FlatGradients({"all": trained}), "all")
            once, again = (self._drawn(encode) for _ in range(2))
            once.square().sum().backward()
            encode.collect()
        if not torch.equal(once, again):
            raise self._refusal(
                "draws numbers that torch.manual_seed does not decide, so that no vector can be computed again", way_out
            )
        gradients = [p.grad for p in self._split.parameters() if p.grad is not None]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise self._refusal("gets a gradient that is not finite", way_out)
        if not any(bool(gradient.abs().max() > 0) for gradient in gradients):
            raise self._refusal("gets no gradient", way_out)
        return tuple(name for name, p in self._split.named_parameters() if p.requires_grad and p.grad is None)

    def _drawn(self, encode: StepEncoder) -> Tensor:
        torch.manual_seed(1)
        return encode.of_rows(self._rows)

    def check_compiled(self) -> None:
        """The compiled form, up to the stages that all devices share, gives the same vectors."""
        way_out = "Set run.compile = false"
        plain = StepEncoder(self._encoder, self._items, half=self._asked.half)
        with self._refusing("cannot be compiled", way_out):
            traced_form = StepEncoder(self._encoder, self._items, half=self._asked.half, compiler=traced)
            found, wanted = (encode.of_rows(self._rows) for encode in (traced_form, plain))
        off = _difference(found, wanted)
        if not off < (_CLOSE_IN_HALF if self._asked.half else CLOSE):
            raise self._refusal(f"gives other vectors compiled (difference {off:.2g})", way_out)


def _alone(plm: Any, ids_T: Tensor) -> Tensor:
    """The library's hidden states (T, H) of one segment."""
    found: Tensor = plm(input_ids=ids_T[None], attention_mask=torch.ones_like(ids_T)[None]).last_hidden_state[0]
    return found


def _difference(found: Tensor, wanted: Tensor) -> float:
    """The largest absolute difference, as a share of the largest wanted number, or of 1."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1.0))
