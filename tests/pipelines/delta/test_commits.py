"""What commits tell later: changed rows and the writer's note."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from pipelines.delta.commits import Changes, Commit, Mark
from pipelines.delta.log import open_table
from pipelines.lake.tables import Lake
from tests.lakes import WORDS, words


def test_commits_tell_their_note_and_their_changes_newest_first(lake: Lake) -> None:
    lake.append(WORDS, words(lake, ("en", "a", [1]), ("en", "b", [1])), app_id="test", app_version=7, note={"batch": 7})
    incoming = words(lake, ("en", "a", [2]), ("en", "c", [2]))
    lake.merge(WORDS, incoming, set_on_match={"uses": "incoming.uses"}, mark=Mark(note={"batch": 8, "source": "p'1"}))
    lake.overwrite(WORDS, words(lake, ("de", "x", [])), where="language = 'de'", note={"batch": 9})
    lake.note(WORDS, "made_from", "{}")
    assert lake.commits(WORDS) == [
        Commit(4, None, Changes()),
        Commit(3, {"batch": 9}, Changes(inserted=1)),
        Commit(2, {"batch": 8, "source": "p'1"}, Changes(inserted=1, updated=1)),
        Commit(1, {"batch": 7}, Changes(inserted=2), ("test", 7)),
        Commit(0, None, Changes()),
    ]
    assert [commit.version for commit in lake.commits(WORDS, limit=2)] == [4, 3]


def test_commits_of_other_tools_have_no_note(lake: Lake) -> None:
    lake.create(WORDS)
    for text in ("a note", "[1]"):
        properties = CommitProperties(custom_metadata={"userMetadata": text})
        one = pa.table(
            {"language": ["en"], "word": ["a"], "uses": [[1]]}, schema=pa.schema(open_table(lake.path(WORDS)).schema())
        )
        write_deltalake(lake.path(WORDS), one, mode="append", commit_properties=properties)
    assert [commit.note for commit in lake.commits(WORDS)] == [None, None, None]


def test_a_commit_whose_file_is_gone_ends_the_list(lake: Lake) -> None:
    for version in range(1, 4):
        lake.append(WORDS, words(lake, ("en", "a", [1])), app_id="test", app_version=version)
    open_table(lake.path(WORDS)).create_checkpoint()
    for version in (0, 1):
        (Path(lake.path(WORDS)) / "_delta_log" / f"{version:020}.json").unlink()
    assert [commit.version for commit in lake.commits(WORDS)] == [3, 2]
