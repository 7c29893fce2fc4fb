"""Checks that a packed directory's token ids come from the tokenizer of the run's language model."""

from __future__ import annotations

import hashlib
from pathlib import Path

from schemas.errors import ContractError
from schemas.manifest import Manifest, Tokens
from schemas.tokenizer_content import content_sha256
from trainer.model.split_encoder import SplitEncoder
from trainer.model.weights_folder import PACKAGED, tokenizer_file


def check_tokens(manifest: Manifest, plm: str, split: SplitEncoder) -> None:
    """ContractError unless the directory's token ids are those of the language model's own tokenizer."""
    tokens = manifest.tokens
    own = tokenizer_file(plm)
    other_tokenizer = own is not None and not _made(own, tokens)
    longest = min(tokens.tokens_per_segment, split.longest)
    if tokens.vocabulary > split.vocabulary:
        wrong = f"tokens of a vocabulary of {tokens.vocabulary}, plm {plm!r} has {split.vocabulary}"
    elif tokens.tokens_per_segment > split.longest:
        wrong = f"segments of {tokens.tokens_per_segment} tokens, plm {plm!r} reads {split.longest}"
    elif other_tokenizer:
        wrong = f"tokens of tokenizer {tokens.tokenizer!r}, which is not that of plm {plm!r}"
    else:
        return
    options = {
        "source": manifest.config.get("source"),
        "tokenizer": plm if plm in PACKAGED or Path(plm).is_dir() else own or "TOKENIZER.JSON",
        "tokens-per-segment": longest,
        "select": tokens.select,
        "near-duplicates": (manifest.config.get("news") or {}).get("near_duplicates"),
    }
    words = [f"--{name} {value}" for name, value in options.items() if value is not None]
    words += [f"--fields {field}" for field in tokens.fields]
    words += ["--category-first"] if tokens.category_first else []
    raise ContractError(
        f"{wrong}. Make them with its tokenizer: ./feedloop prepare_news --lake LAKE --news NEWS {' '.join(words)}, "
        "then ./feedloop build_trajectories and ./feedloop pack as before"
    )


def _made(tokenizer: Path, tokens: Tokens) -> bool:
    """Whether this tokenizer.json, or one of equal content, made the tokens."""
    text = tokenizer.read_bytes()
    return tokens.are_of(hashlib.sha256(text).hexdigest(), content_sha256(text.decode("utf-8", "replace")))
