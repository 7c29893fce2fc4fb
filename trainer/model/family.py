"""Finds the properties of a language model by running it on a few tokens, whatever its library calls it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from schemas.errors import InputError
from trainer.model.family_layers import record_calls

ATTENTION_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")  # as families name it
_ITEMS, _TOKENS = 2, 6
_UNLIMITED = 1 << 30


class LayerInterface(NamedTuple):
    """What the trained layers of a family take and return."""

    chained: bool
    """they need only the output of the layer below and a mask, so they can run without the model around them"""
    time_first: bool
    """hidden states are (T, C, H) inside the model"""
    others: int | None
    """how many other values a layer returns after its hidden states; None where it returns them without a tuple"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The properties of one language model before it is split."""

    name: str
    width: int
    """numbers in a token's last hidden state"""
    vocabulary: int
    longest: int
    """the number of positions for tokens"""
    first_position: int
    """the first token's position: RoBERTa and similar families count from the pad's id + 1"""
    rotary: bool
    """positions are angles between tokens, and can be passed to the model"""
    causal: bool
    """a token attends only to itself and earlier ones, so that only the last one sees all of the text"""
    by_embeddings: bool
    """accepts word vectors in place of token ids"""
    takes_positions: bool
    takes_pairs: bool
    """gives the same output for a mask of all pairs of tokens (C, 1, T, T) as for one of real tokens (C, T)"""
    attention_dropout: float
    """of attention weights"""

    @classmethod
    def of(cls, plm: Any) -> Family:
        """The properties of `plm`. InputError, with the model's name, where it gives no hidden state for each token."""
        accepted = inspect.signature(plm.forward).parameters
        plm.config.use_cache = False  # keys and values are not used again
        takes_positions = "position_ids" in accepted
        rotary = takes_positions and getattr(plm.config, "rope_parameters", None) is not None
        with evaluating(plm):
            last_hidden = _last_hidden(plm)
            first = _first_position(plm, last_hidden) if takes_positions and not rotary else 0
            causal = _is_causal(plm, last_hidden)
            takes_pairs = _takes_pairs(plm, last_hidden, causal=causal)
        return cls(
            name=type(plm).__name__,
            width=int(last_hidden.shape[-1]),
            vocabulary=int(plm.config.vocab_size),
            longest=_longest(plm, first),
            first_position=first,
            rotary=rotary,
            causal=causal,
            by_embeddings="inputs_embeds" in accepted,
            takes_positions=takes_positions,
            takes_pairs=takes_pairs,
            attention_dropout=max(float(getattr(plm.config, name, 0.0) or 0.0) for name in ATTENTION_DROPOUTS),
        )

    def set_attention(self, plm: Any, hook: str) -> None:
        """Makes the layers use the attention function `hook`. InputError where the family has its own attention."""
        try:
            plm.set_attn_implementation(hook)
        except (ValueError, NotImplementedError, AttributeError) as error:
            raise InputError(
                f"{self.name} has its own attention ({str(error).splitlines()[0][:120]}), so that segments can "
                "neither hear each other nor share rows. Set encoder.bus = false and encoder.row_tokens = 0"
            ) from error

    def layer_interface(self, plm: Any, layers: Sequence[nn.Module], number: int) -> LayerInterface:
        """How the model calls its layers from `number` on. InputError where they do not take one state per token."""
        with evaluating(plm):
            calls, last_hidden = record_calls(layers, lambda: _last_hidden(plm))
        found = {tuple(each.shape) for each in calls.hidden[:1]}
        shape = next(iter(found), ())
        in_order = len(calls.hidden) == len(layers)
        time_first = shape[:2] == (_TOKENS, _ITEMS)
        if not in_order or len(shape) != 3 or not (time_first or (shape[0] == _ITEMS and shape[1] >= _TOKENS)):
            raise InputError(
                f"encoder.frozen_layers is {number}, but layer {number} of {self.name} reads hidden states of shape "
                f"{shape} for {_ITEMS} texts of {_TOKENS} tokens, and not one for each token. Set "
                "encoder.frozen_layers = 0"
            )
        if shape[-1] != self.width:
            raise InputError(
                f"encoder.frozen_layers is {number}, but hidden states of {self.name} are {shape[-1]} wide there and "
                f"{self.width} at its end. Set encoder.frozen_layers = 0"
            )
        return LayerInterface(calls.chained(_mask(), last_hidden), time_first, calls.others)

    def empty_input(self, plm: Any, given_CTH: Tensor) -> dict[str, Tensor]:
        """An input of zeros, for a model whose first trained layer reads another input."""
        if not self.by_embeddings:
            return {"input_ids": torch.zeros(given_CTH.shape[:2], dtype=torch.long, device=given_CTH.device)}
        return {"inputs_embeds": given_CTH.new_zeros(*given_CTH.shape[:2], word_width(plm))}


def word_width(plm: Any) -> int:
    """The width of a word vector, which may be less than that of a hidden state."""
    try:
        return int(plm.get_input_embeddings().weight.shape[1])
    except (AttributeError, NotImplementedError) as error:
        raise InputError(
            f"{type(plm).__name__} has no table of its words' vectors, to which a keyword's frequency could be added. "
            "Set encoder.keyword_frequency = false"
        ) from error


@contextmanager
def evaluating(plm: Any) -> Iterator[None]:
    """Inside, the model has no dropout and records no gradient."""
    was_training = plm.training
    plm.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        plm.train(was_training)


def _ids(plm: Any) -> Tensor:
    most = int(plm.config.vocab_size)
    return torch.arange(_ITEMS * _TOKENS).reshape(_ITEMS, _TOKENS) % max(1, most - 5) + min(5, most - 1)


def _mask() -> Tensor:
    """A mask whose second text is two tokens shorter: models drop a mask that hides nothing."""
    return torch.arange(_TOKENS) < torch.tensor([[_TOKENS], [_TOKENS - 2]])


def _last_hidden(plm: Any, ids_CT: Tensor | None = None, **more: Tensor) -> Tensor:
    ids_CT = _ids(plm) if ids_CT is None else ids_CT
    try:
        found = plm(input_ids=ids_CT, attention_mask=_mask().long(), **more).last_hidden_state
    except Exception as error:  # families that need more than tokens raise errors of any class
        raise InputError(
            f"{type(plm).__name__} gives no hidden states of token ids ({first_line(error)}). Name a language model "
            "that encodes text"
        ) from error
    if found.ndim != 3 or found.shape[:2] != ids_CT.shape:
        raise InputError(
            f"{type(plm).__name__} gives output of shape {tuple(found.shape)} for {_ITEMS} texts of {_TOKENS} tokens, "
            "and not one vector for each token. Name another language model"
        )
    return torch.as_tensor(found)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _first_position(plm: Any, wanted_CTH: Tensor) -> int:
    """The position that the model gives to the first token: 0, or the pad's id + 1."""
    place_CT = torch.arange(_TOKENS).expand(_ITEMS, -1)
    wanted = wanted_CTH[_mask()]
    pad = getattr(plm.config, "pad_token_id", None)
    for first in () if pad is None else (0, int(pad) + 1):
        if _longest(plm, first) >= _TOKENS:  # a pad's id may be beyond all positions
            found = _last_hidden(plm, position_ids=place_CT + first)[_mask()]
            if float((found - wanted).abs().max()) < 1e-5 * float(wanted.abs().max().clamp(min=1.0)):
                return first
    return 0


def _is_causal(plm: Any, before_CTH: Tensor) -> bool:
    """Whether changing the last token leaves the states of all others unchanged."""
    ids_CT = _ids(plm)
    ids_CT[0, -1] = ids_CT[1, 0]
    moved_T = (_last_hidden(plm, ids_CT) - before_CTH)[0].abs().amax(-1)
    return bool(moved_T[:-1].max() < 1e-6 * moved_T[-1])


def _takes_pairs(plm: Any, wanted_CTH: Tensor, *, causal: bool) -> bool:
    pairs_CTT = _mask()[:, None, None, :].expand(_ITEMS, 1, _TOKENS, _TOKENS)
    try:
        found = plm(input_ids=_ids(plm), attention_mask=pairs_CTT.tril() if causal else pairs_CTT).last_hidden_state
        off = (found - wanted_CTH)[_mask()].abs().max()
    except Exception:  # families that want the other mask raise errors of any class
        return False
    return bool(off < 1e-5 * wanted_CTH.abs().max().clamp(min=1.0))


def _longest(plm: Any, first_position: int) -> int:
    """The number of positions for tokens; unlimited where the config has no limit or -1."""
    tables = [
        module.num_embeddings
        for name, module in plm.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    config = int(getattr(plm.config, "max_position_embeddings", None) or 0)
    places = tables[0] if tables and first_position else config
    return int(places) - first_position if places > 0 else _UNLIMITED
