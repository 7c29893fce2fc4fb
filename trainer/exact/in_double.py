"""Keeps language models in float64 during proofs, also those whose norms cast to float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


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
