from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.errors import ContractError
from schemas.regular_file import check_inside, open_regular, read_bytes
from tests.damage import HANG, ODD_FILES, in_place_of, refusal

pytestmark = pytest.mark.timeout(HANG)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.json"
    path.write_bytes(b"1234")
    return path


def test_a_regular_file_is_read_and_so_is_one_behind_a_link(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert read_bytes(file, largest=4) == read_bytes(link, largest=4) == b"1234"
    with open_regular(file, largest=4) as stream:
        assert stream.read(2) == b"12"


@pytest.mark.parametrize("kind", ODD_FILES)
def test_nothing_but_a_regular_file_of_a_stated_size_is_opened(file: Path, kind: str) -> None:
    with in_place_of(file, ODD_FILES[kind]):
        refusal(lambda: read_bytes(file, largest=1000, advice="Pack again"), str(file), "Pack again")


def test_a_file_that_is_too_large_missing_or_without_a_size_is_refused_by_name(file: Path) -> None:
    with pytest.raises(ContractError, match=r"some\.json: 4 bytes, at most 3 are read\. Pack again"):
        read_bytes(file, largest=3, advice="Pack again")
    with pytest.raises(ContractError, match=r"gone: there is no such file\. Pack again"):
        read_bytes(file.with_name("gone"), largest=3, advice="Pack again")
    with pytest.raises(ContractError, match="/proc/self/status: more than 3 bytes"):
        read_bytes(Path("/proc/self/status"), largest=3)
    with pytest.raises(ContractError, match="null byte"):
        read_bytes(Path("a\0b"), largest=3)


def test_a_name_below_a_folder_leads_nowhere_else(tmp_path: Path) -> None:
    folder, outside = tmp_path / "packed", tmp_path / "outside"
    (folder / "batches").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "batches/a", outside / "a"):
        path.write_text("a")
    assert check_inside(folder, "batches/a") == folder / "batches/a"
    entrance = tmp_path / "entrance"
    entrance.symlink_to(folder)
    assert check_inside(entrance, "batches/a") == entrance / "batches/a"
    (folder / "link").symlink_to(outside / "a")
    (folder / "folder").symlink_to(outside)
    for name in ("link", "folder/a"):
        with pytest.raises(ContractError, match="a symbolic link, or below one"):
            check_inside(folder, name)
    for name in ("../outside/a", str(outside / "a"), str(folder / "batches/a"), "batches/../batches/a"):
        with pytest.raises(ContractError, match="which does not lie in it"):
            check_inside(folder, name)
    os.symlink(folder / "circle", folder / "circle")
    refusal(lambda: check_inside(folder, "circle"), "circle")
