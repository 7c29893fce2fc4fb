"""Encodes texts or token ids to news vectors with the model of an export, to which this file is copied.

It needs torch, transformers, safetensors and the files next to it, but not feedloop. In your own program:

    from feedloop_encoder import NewsEncoder
    encoder = NewsEncoder("EXPORT/encoder")
    vector_CD = encoder.encode_texts([["A title", "Its abstract"], ["Another title"]])
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import embedding, linear
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ITEMS_AT_ONCE = 64
BUS = "feedloop_news_bus"
LONGEST_SETTINGS = 1 << 20  # bytes of feedloop.json
SETTINGS = {  # the keys of feedloop.json that are read here, and their types
    "bus": (bool,),
    "first_bus_layer": (int,),
    "first_trained_layer": (str, type(None)),
    "text_part": (str,),
    "time_first": (bool,),
    "fields": (list,),
    "select": (str,),
    "tokens_per_segment": (int,),
}

Lists = Sequence[Sequence[Sequence[int]]]  # per item, per segment, per token


class NewsEncoder:
    """C items of S segments of T tokens -> vectors (C, D). The dot product with a user state is the news' score."""

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder), torch.device(device)
        self.settings = _settings(self.folder / "feedloop.json")
        self.weights = load_file(self.folder / "feedloop.safetensors", device=device)
        shape = type(AutoConfig.from_pretrained(self.folder))
        auto = AutoModelForTextEncoding if shape in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel
        model = auto.from_pretrained(self.folder, dtype=torch.float32).eval().to(device)
        self.plm: Any = model.get_submodule(self.settings["text_part"])
        self.plm.config.use_cache = False
        self._added: Tensor | None = None
        if self.settings["bus"]:
            self.plm.set_attn_implementation(BUS)
        if self.settings["first_trained_layer"]:
            layer = model.get_submodule(self.settings["first_trained_layer"])
            layer.register_forward_pre_hook(self._as_trained, with_kwargs=True)

    def encode_texts(self, items: Sequence[Sequence[str]]) -> Tensor:
        """Vectors (C, D) of plain texts: the fields of each item in the order of settings["fields"].

        A field longer than a segment is cut at its end. Where settings["select"] is not "start", training used the
        keywords of such fields instead: pass their token ids and frequencies to `encode`.
        """
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        longest = self.settings["tokens_per_segment"]
        texts = [[" ".join(unicodedata.normalize("NFC", text).split()) for text in item] for item in items]
        kept = [[text for text in item if text] or [""] for item in texts]  # no text at all: special tokens alone
        tokens = [[tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in item] for item in kept]
        return self.encode(tokens)

    def encode(self, items: Lists, *, frequency: Lists | None = None, position: Lists | None = None) -> Tensor:
        """Vectors (C, D), float32 on the CPU, of token ids with their special tokens.

        `frequency` and `position`: of refined segments, as in feedloop's table item_tokens; an empty list for a segment
        that is not refined. `position` is used only by models with rotary positions all of whose layers were trained.
        """
        order = sorted(range(len(items)), key=lambda item: sum(map(len, items[item])))
        vector_CD = torch.empty(len(items), self.weights["project.weight"].shape[0])
        for start in range(0, len(order), ITEMS_AT_ONCE):
            part = order[start : start + ITEMS_AT_ONCE]
            of_part = [None if lists is None else [lists[item] for item in part] for lists in (frequency, position)]
            vector_CD[part] = self._encode([items[item] for item in part], *of_part).cpu()
        return vector_CD

    @torch.no_grad()
    def _encode(self, items: Lists, frequency: Lists | None, position: Lists | None) -> Tensor:
        segment_CS, mask_CST = _masks(items, self.device)
        ids_CT, mask_CT = _dense(items, mask_CST), mask_CST.flatten(0, 1)
        inputs: dict[str, Tensor] = {"input_ids": ids_CT, "attention_mask": mask_CT.long()}
        self._added = None
        if frequency is not None and "frequency.weight" in self.weights:
            weight = self.weights["frequency.weight"]
            self._added = embedding(_dense(frequency, mask_CST).clamp(max=len(weight) - 1), weight)
        rotary = getattr(self.plm.config, "rope_parameters", None) is not None
        if position is not None and rotary and not self.settings["first_trained_layer"]:
            inputs["position_ids"] = _positions(position, mask_CST)
        if self._added is not None and not self.settings["first_trained_layer"]:
            inputs["inputs_embeds"] = self.plm.get_input_embeddings()(inputs.pop("input_ids")) + self._added
        bus = _Bus(segment_CS, self.settings["first_bus_layer"]) if segment_CS.shape[1] > 1 else None
        before = _open.set(bus)
        try:
            hidden_CTH = self.plm(**inputs).last_hidden_state
        finally:
            _open.reset(before)
        pooled_CSH = self._pool("token_pool", hidden_CTH, mask_CT).unflatten(0, segment_CS.shape)
        pooled_CH = pooled_CSH[:, 0] if segment_CS.shape[1] == 1 else self._pool("segment_pool", pooled_CSH, segment_CS)
        return linear(pooled_CH, self.weights["project.weight"], self.weights["project.bias"])

    def _as_trained(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The first trained layer's input, as in training: rounded to half precision, plus keyword frequencies."""
        below = args[0] if args else kwargs["hidden_states"]
        entering = below.half().to(below.dtype)
        if self._added is not None:
            time_first = self.settings["time_first"]
            behind = below.shape[0 if time_first else 1] - self._added.shape[1]  # tokens that the model adds
            added_CTH = nn.functional.pad(self._added, (0, 0, 0, behind))
            entering = entering + (added_CTH.transpose(0, 1) if time_first else added_CTH)
        replaced = tuple(entering if each is below else each for each in args)
        return replaced, {name: entering if each is below else each for name, each in kwargs.items()}

    def _pool(self, name: str, key_LH: Tensor, mask_L: Tensor) -> Tensor:
        """The attention's weighted mean over the keys that the mask shows; of a decoder's tokens the last one shown."""
        weights = self.weights
        if f"{name}.query.weight" not in weights:
            return key_LH[torch.arange(len(key_LH)), mask_L.sum(-1) - 1]
        seen = torch.tanh(linear(key_LH, weights[f"{name}.project.weight"], weights[f"{name}.project.bias"]))
        logits_L = linear(seen, weights[f"{name}.query.weight"]).squeeze(-1).masked_fill(~mask_L, float("-inf"))
        return (torch.softmax(logits_L, dim=-1).unsqueeze(-1) * key_LH).sum(-2)


def _settings(file: Path) -> dict[str, Any]:
    """The settings of the export's encoder. ValueError, which names the file, unless they are valid."""
    try:
        if not file.is_file() or file.stat().st_size > LONGEST_SETTINGS:  # a FIFO would hang, a device never end
            raise ValueError(f"no regular file of {LONGEST_SETTINGS} bytes at most")
        found = json.loads(file.read_bytes().decode("utf-8"), object_pairs_hook=_names_once, parse_constant=_no_number)
        if not isinstance(found, dict):
            raise ValueError("no object")
        for name, kinds in SETTINGS.items():
            if name not in found or type(found[name]) not in kinds:
                raise ValueError(f"{name} is {found.get(name)!r:.40}")
        if not all(type(name) is str for name in found["fields"]):
            raise ValueError("fields are texts")
        if not (0 <= found["first_bus_layer"] <= 1000 and 1 <= found["tokens_per_segment"] <= 1 << 16):
            raise ValueError("a layer or a number of tokens that cannot be")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: no valid settings of an export ({str(error)[:200]}). Export again") from error
    return found


def _names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return dict(pairs)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _masks(items: Lists, device: torch.device) -> tuple[Tensor, Tensor]:
    """(segment mask (C, S), token mask (C, S, T)). An absent segment shows one token, so that no softmax is empty."""
    if not all(item and all(item) for item in items):
        raise ValueError("an item without segments, or a segment without tokens: pass at least its special tokens")
    most, longest = max(map(len, items)), max(len(segment) for item in items for segment in item)
    length_CS = torch.tensor([[len(segment) for segment in item] + [0] * (most - len(item)) for item in items])
    mask_CST = torch.arange(longest) < length_CS.clamp(min=1)[:, :, None]
    return (length_CS > 0).to(device), mask_CST.to(device)


def _dense(items: Lists, mask_CST: Tensor) -> Tensor:
    """The lists as a tensor (C*S, T), padded with 0."""
    dense_CST = torch.zeros(mask_CST.shape, dtype=torch.long)
    for c, item in enumerate(items):
        for s, segment in enumerate(item):
            dense_CST[c, s, : len(segment)] = torch.as_tensor(segment)
    return dense_CST.flatten(0, 1).to(mask_CST.device)


def _positions(items: Lists, mask_CST: Tensor) -> Tensor:
    """Positions of tokens: of keywords in their text, of [SEP] after the last one, of all others in their segment."""
    place_T = torch.arange(mask_CST.shape[2], device=mask_CST.device).expand(mask_CST.shape[0] * mask_CST.shape[1], -1)
    refined = [[[*s[:-1], s[-2] + 1] if len(s) > 1 else list(s) for s in item] for item in items]
    position_CT = _dense(refined, mask_CST)
    is_refined_C = _dense([[[1] if s else [0] for s in item] for item in items], mask_CST)[:, :1] > 0
    return torch.where(is_refined_C & mask_CST.flatten(0, 1), position_CT, place_T)


class _Bus:
    """One forward pass in which segments of an item attend to each other's first token, from layer `first` on."""

    def __init__(self, segment_CS: Tensor, first: int) -> None:
        self.shape, self.first, self.layer = segment_CS.shape, first, 0
        others_SS = ~torch.eye(segment_CS.shape[1], dtype=torch.bool, device=segment_CS.device)
        self.visible_CSS = (segment_CS[:, None, :] & others_SS).flatten(0, 1)[:, None, None, :]

    def of(self, first_X: Tensor) -> Tensor:
        """First tokens (C*S, heads, d) -> those of all segments of the same item (C*S, heads, S, d)."""
        of_item = first_X.unflatten(0, self.shape).transpose(1, 2)[:, None]
        return torch.flatten(of_item.expand(-1, self.shape[1], -1, -1, -1), 0, 1)


_open: ContextVar[_Bus | None] = ContextVar("bus", default=None)  # of the running pass


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    open_bus = _open.get()
    if open_bus is not None:
        open_bus.layer += 1
    if open_bus is not None and open_bus.layer > open_bus.first:
        rows, _, length, _ = query.shape
        own = key.new_ones(rows, 1, 1, key.shape[2], dtype=torch.bool) if attention_mask is None else attention_mask
        shown = own if own.dtype == torch.bool else own >= 0
        visible = open_bus.visible_CSS.expand(-1, 1, length, -1)
        attention_mask = torch.cat([shown.expand(rows, -1, length, -1), visible], dim=-1)
        key, value = (torch.cat([each, open_bus.of(each[:, :, 0])], dim=2) for each in (key, value))
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return output, None


AttentionInterface.register(BUS, _attention)
AttentionMaskInterface.register(BUS, sdpa_mask)
