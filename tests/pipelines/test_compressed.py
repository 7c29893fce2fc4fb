from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.compressed import SUFFIXES, UNREADABLE, is_compressed, opened, plain_name, with_compressed
from tests.compressing import COMPRESSED, packed
from tests.conftest import REPOSITORY

ZST_WITH_CHECKSUM = bytes.fromhex(  # of the command zstd: pyarrow writes none
    "28b52ffd0458610100616161610a626262620a636363632c2061206c696e652074686174206973206e6f7420736f2073686f72740a14bdfd04"
)


def text_of(path: Path, size: int = 1000) -> bytes:
    """The text, read so many bytes at a time."""
    with opened(path) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def test_names_tell_what_is_compressed() -> None:
    assert tuple(COMPRESSED) == SUFFIXES
    assert with_compressed("a.tsv")[:3] == ("a.tsv", "a.tsv.gz", "a.tsv.zst")
    assert [plain_name(name) for name in with_compressed("a.tsv", "b")] == ["a.tsv"] * 6 + ["b"] * 6
    assert [is_compressed(name) for name in ("a.xz", "a.xz.b", "gz")] == [True, False, False]


@pytest.mark.parametrize("name", with_compressed("a"))
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_archives_laid_end_to_end_are_one_text(tmp_path: Path, name: str, size: int) -> None:
    texts = [b"a\n" * 700, b"", b"b" * 3000 + b"\n", b"end"]
    (tmp_path / name).write_bytes(packed(name, *texts))
    assert text_of(tmp_path / name, size) == b"".join(texts)
    (tmp_path / name).write_bytes(b"")
    assert text_of(tmp_path / name) == b""
    (tmp_path / name).write_bytes(packed(name, b""))
    assert text_of(tmp_path / name) == b""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_that_is_cut_anywhere_is_never_taken_for_a_shorter_one(tmp_path: Path, suffix: str) -> None:
    first, second = (packed(suffix, text) for text in (b"one line\nand another\n", b"the last\n"))
    path = tmp_path / f"a{suffix}"
    for end in {*range(1, len(first + second))} - {len(first)}:
        path.write_bytes((first + second)[:end])
        with pytest.raises(UNREADABLE):
            text_of(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rest", [b"no archive at all, but long enough for a head", b"\x01"])
def test_what_follows_an_archive_and_is_none_is_no_end_of_it(tmp_path: Path, suffix: str, rest: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(packed(suffix, b"a line\n") + rest)
    with pytest.raises(UNREADABLE):
        text_of(path)
    path.write_bytes(rest)
    with pytest.raises(UNREADABLE):
        text_of(path)


def test_zeros_between_the_streams_of_xz_are_none_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.xz"
    path.write_bytes(packed(".xz", b"a\n") + bytes(8) + packed(".xz", b"b\n") + bytes(4))
    assert text_of(path) == b"a\nb\n"


def test_a_broken_byte_is_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(ZST_WITH_CHECKSUM)
    assert text_of(path) == b"aaaa\nbbbb\ncccc, a line that is not so short\n"
    others = {f"a{suffix}": packed(suffix, b"b" * 99 + b"c") for suffix in (".gz", ".bz2", ".xz")}
    for name, intact in {"a.zst": ZST_WITH_CHECKSUM, **others}.items():
        broken = bytearray(intact)
        broken[len(intact) // 2] ^= 1
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(UNREADABLE):
            text_of(tmp_path / name)


_READS_BOMBS = """
import resource, sys
from pathlib import Path
from pipelines.ingest.discover.scan import scan_lines
from pipelines.news.readers import news_file
from schemas.errors import InputError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

def refused(call, *args):
    try:
        return call(*args)
    except InputError as error:
        assert "a line of over 64 MiB" in str(error), error
        return None

before = peak()
for path in map(Path, sys.argv[1:]):
    found = refused(scan_lines, path, lambda line: None, lambda line: True)
    assert (found is None) == ("zeros" in path.name), found
    assert "ends" in path.name or refused(news_file, path) is None
print(peak() - before)
"""


def test_a_little_file_that_holds_a_gigabyte_fills_no_memory(tmp_path: Path) -> None:
    """Neither zeros without a line end, which are refused, nor lines without anything in them."""
    paths = list[Path]()
    for name, piece in {"zeros": bytes(1 << 24), "ends": b"\n" * (1 << 24)}.items():
        paths += [tmp_path / f"{name}.jsonl{suffix}" for suffix in SUFFIXES]
        for path in paths[-len(SUFFIXES) :]:
            path.write_bytes(packed(path.name, piece) * (64 if name == "zeros" else 10))
            assert path.stat().st_size < 5 << 20
    grown = int(in_python(_READS_BOMBS, paths))
    assert grown < 130  # MiB: a line of 64, and what a codec keeps


def in_python(program: str, paths: Sequence[Path]) -> str:
    command = [sys.executable, "-c", program, *map(str, paths)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
