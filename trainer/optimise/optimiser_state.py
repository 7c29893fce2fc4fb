"""Converts an Optimiser's state to a checkpoint's form, tensors separate from plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def flat_optimiser(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An Optimiser's state as (tensors by 'group/parameter/moment', JSON)."""
    tensors = {
        f"{name}/{index}/{moment}": torch.as_tensor(value)
        for name, inner in state["groups"].items()
        for index, moments in inner["state"].items()
        for moment, value in moments.items()
    }
    return tensors, {**state, "groups": {name: inner["param_groups"] for name, inner in state["groups"].items()}}


def nested_optimiser(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flat_optimiser."""
    state: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in plain["groups"]}
    for key, tensor in tensors.items():
        name, index, moment = key.split("/")
        state[name].setdefault(int(index), {})[moment] = tensor
    groups = {name: {"param_groups": plain["groups"][name], "state": inner} for name, inner in state.items()}
    return {**plain, "groups": groups}
