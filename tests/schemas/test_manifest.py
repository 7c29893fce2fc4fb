from __future__ import annotations

import dataclasses
import json

import pytest

from schemas.errors import ContractError
from schemas.manifest import FileEntry, Manifest, Superblock, Tokens
from schemas.packed_batch import FORMAT_VERSION


def superblock(*batches: int) -> Superblock:
    ones = (1,) * len(batches)
    return Superblock(batches=batches, targets=ones, weights=(1.0,) * len(batches), items=ones, trajectories=3)


def manifest() -> Manifest:
    files = (
        FileEntry(
            path="batches/b.parquet", sha256="2" * 64, bytes=5, rows=4, superblocks=(superblock(2, 3), superblock(0, 1))
        ),
        FileEntry(path="tokens/token_values.npy", sha256="3" * 64, bytes=140, rows=6),
    )
    tokens = Tokens(
        tokenizer="t", tokenizer_sha256="4" * 64, vocabulary=9, pad_id=0, special_tokens=2, tokens_per_segment=32,
        segments_per_item=1, fields=("title",), select="text", rows=5,
    )  # fmt: skip
    return Manifest(
        format_version=FORMAT_VERSION, files=files, tokens=tokens, inputs={"news": 1}, config={"seed": 1},
        counts={"batches": 4}, created_at="2026-03-02T09:15:31Z",
    )  # fmt: skip


def test_a_manifest_comes_back_from_its_text() -> None:
    assert Manifest.from_json(manifest().to_json(), "here") == manifest()


def test_superblocks_come_in_packed_order_with_their_row_groups() -> None:
    assert [(path, group, block.batches) for path, group, block in manifest().superblocks] == [
        ("batches/b.parquet", 1, (0, 1)),
        ("batches/b.parquet", 0, (2, 3)),
    ]


def test_another_format_version_is_refused_with_the_way_out() -> None:
    newer = dataclasses.replace(manifest(), format_version=FORMAT_VERSION + 1)
    with pytest.raises(ContractError, match=r"here: format version \d+, this code reads \d+\. Pack again"):
        Manifest.from_json(newer.to_json(), "here")


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"format_version": FORMAT_VERSION})])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match=r"^here.*Pack again"):
        Manifest.from_json(text, "here")
