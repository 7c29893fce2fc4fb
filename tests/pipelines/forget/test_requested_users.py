"""Who is asked for: files that say it, and those that do not."""

from __future__ import annotations

import hmac
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines.forget.flow import forget_users
from pipelines.forget.requested_users import RequestedUser, read_requested_users, stored_ids
from pipelines.ingest.discover.sources import find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import IMPRESSIONS
from schemas.raw_log import RAW_LOG, REJECTS
from tests.builders import ARRIVED, json_line, rows, write_logs
from tests.traces import traces

KEY = b"a secret of 16 bytes or more"


def hmac_of(user: str) -> str:
    return hmac.digest(KEY, user.encode(), "sha256").hex()


def written(folder: Path, content: bytes) -> Path:
    (folder / "users.txt").write_bytes(content)
    return folder / "users.txt"


def test_each_line_is_a_user_once_with_a_source_or_without(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeffu1\r\nu2\tnorth west\n\n  u1 \nåse\n".encode())
    assert read_requested_users(file) == [
        RequestedUser("u1", None),
        RequestedUser("u2", "north west"),
        RequestedUser("åse", None),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "users.txt: holds no user id. Each line holds a user id"),
        (b"\n \n", "holds no user id"),
        (b"u1\n\xffsecret\n", "line 2 is no UTF-8 text"),
        (b"u1\nsecret two\n", r"line 2 holds no id: one has no white space"),
        (b"secret\\n\n", r"line 1 holds no id: .*backslash"),
        (b"secret\ta\tb\n", "line 1 has 3 columns"),
        (b"secret\t\n", "line 1 has 2 columns, or an empty one"),
        (b"secret" * 50, "line 1 holds an id of more than 256 bytes"),
    ],
)
def test_what_is_no_list_of_users_is_refused_by_line_and_not_shown(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_requested_users(written(tmp_path, content))
    assert "secret" not in str(caught.value)


def test_a_file_that_is_missing_or_none_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match=rf"{path}: .*Each line holds a user id"):
            read_requested_users(path)


def test_a_lake_without_lines_has_nobody_to_forget(lake: Lake) -> None:
    with pytest.raises(InputError, match="nothing was ingested here, so there is nobody to forget"):
        forget_users(lake, [RequestedUser("u1", None)])


@pytest.fixture(scope="module")
def sealed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A source whose ids are replaced, and one with them in clear."""
    folder = tmp_path_factory.mktemp("sealed")
    lake = Lake(spark, str(folder / "lake"))
    lines = [json_line("1", user_id="ann"), json_line("2", user_id="bob"), json_line("3", user_id="ann", shown=[])]
    for source, key in (("sealed", KEY), ("plain", None)):
        logs = write_logs(folder / source, {"a.jsonl": lines})
        find = partial(find_new, log_paths(logs, "auto", None), logs, None)
        ingest_logs(lake, find, source=source, arrived_at=ARRIVED, user_key=key, max_reject_share=1.0)
    return lake


def test_ids_of_a_sealed_source_are_found_by_the_key_and_hmacs_as_they_are(sealed: Lake) -> None:
    sources = ["plain", "sealed"]
    ann, one = RequestedUser("ann", None), RequestedUser(hmac_of("bob"), "sealed")
    found = stored_ids(sealed, [ann, one], sources, KEY)
    assert found[ann] == [("plain", "ann"), ("sealed", hmac_of("ann"))]
    assert found[one][0] == ("sealed", hmac_of("bob"))
    assert stored_ids(sealed, [one], sources, None)[one] == [("sealed", hmac_of("bob"))]


def test_what_cannot_be_found_is_refused_before_anything_is_written(sealed: Lake) -> None:
    version = sealed.version(RAW_LOG)
    for asked, key, message in (
        (
            RequestedUser("ann", None),
            None,
            "user ids of source sealed are replaced by their HMAC.*Give --user-key-file",
        ),
        (RequestedUser("ann", "else"), KEY, r"holds nothing of source 'else', only of plain, sealed\. Mend the file"),
        (
            RequestedUser("ann", None),
            KEY + b"2",
            "sealed was ingested with a user key so far, and this run is with another",
        ),
    ):
        with pytest.raises(InputError, match=message):
            forget_users(sealed, [asked], key=key)
    assert sealed.version(RAW_LOG) == version
    assert not (Path(sealed.root) / "suppressions").exists()


def test_a_user_leaves_a_sealed_source_and_stays_out(sealed: Lake, tmp_path: Path) -> None:
    done = forget_users(sealed, [RequestedUser("ann", "sealed")], key=KEY, at_once=True)
    assert (done["found"], done["rows_erased"]["raw_log"], done["rows_erased"]["impressions"]) == (1, 1, 1)
    assert traces(Path(sealed.root), hmac_of("ann")) == []
    assert rows(sealed.read(IMPRESSIONS), "source", "user_id") == [
        ("plain", "ann"), ("plain", "bob"), ("sealed", hmac_of("bob"))
    ]  # fmt: skip
    assert sealed.read(REJECTS).count() == 2  # of the sealed one only an HMAC of its line is kept
    logs = write_logs(tmp_path, {"again.jsonl": [json_line("1", user_id="ann"), json_line("9", user_id="bob")]})
    find = partial(find_new, log_paths(logs, "auto", None), logs, None)
    again = ingest_logs(sealed, find, source="sealed", arrived_at=ARRIVED, user_key=KEY)
    assert (again["lines"], again["suppressed"]) == (1, 1)
